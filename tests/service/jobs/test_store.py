import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from service.errors import JobsUnavailable, Overloaded
from service.jobs.scripts import DUE, PREFIX
from service.jobs.store import Ending, JobStore
from service.settings import Settings

DONE = Ending("completed", '{"n": 1}', ('{"type": "last"}',))
STOPPED = Ending("cancelled", '{"n": 2}', ('{"type": "cut"}',))


def settings(redis: str | None, **jobs: object) -> Settings:
    """Jobs in that server, with leases of a second."""
    return Settings.model_validate(
        {
            "policies": {"p": {"model": "some/policy"}},
            "models": {"tiny": {"policy": "p"}},
            "redis": {"url": redis},
            "jobs": {"lease_s": 1, "ttl_s": 60, **jobs},
        }
    )


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    """What lies in the server, empty at first."""
    async with Redis.from_url(redis_server.url, decode_responses=True) as raw:
        yield raw


@pytest.fixture
async def store(redis_server: Any, redis: Redis) -> AsyncIterator[JobStore]:
    """Jobs in that server."""
    made = JobStore(settings(redis_server.url))
    yield made
    await made.aclose()


async def create(store: JobStore, id: str = "a") -> None:
    """Make a job with two events."""
    await store.create(id, "ask", "{}", "ann", ['{"type": "created"}', '{"type": "queued"}'])


async def test_a_job_goes_from_hand_to_hand(store: JobStore) -> None:
    """Made, taken up, done: what it came to is what is read."""
    await create(store)
    made = await store.get("a")
    lease = await store.take()
    assert made is not None
    assert (made.status, made.owner) == ("queued", "ann")
    assert lease is not None
    assert (lease.id, lease.ask, lease.owner, lease.attempt) == ("a", "ask", "ann", 1)
    taken = await store.get("a")
    assert taken is not None
    assert taken.status == "in_progress"
    assert await store.finish(lease, DONE)
    done = await store.get("a")
    assert done is not None
    assert (done.status, done.reply) == ("completed", '{"n": 1}')


async def test_jobs_are_taken_up_in_the_order_in_which_they_came(store: JobStore) -> None:
    """First come, first served; a job in hand is not taken up twice."""
    for id in "abc":
        await create(store, id)
    taken = [await store.take() for _ in range(4)]
    assert [lease and lease.id for lease in taken] == ["a", "b", "c", None]


async def test_a_lease_that_ran_out_goes_to_the_next(store: JobStore) -> None:
    """The second holder does the job; the first one is told that it is not heard any more."""
    await create(store)
    first = await store.take()
    assert first is not None
    await asyncio.sleep(1.1)
    second = await store.take()
    assert second is not None
    assert second.attempt == 2
    assert await store.renew([first, second]) == {"a"}
    assert not await store.note(first, ["{}"])
    assert not await store.finish(first, STOPPED)
    assert await store.finish(second, DONE)
    assert not await store.finish(second, STOPPED)


async def test_a_renewed_lease_is_kept(store: JobStore) -> None:
    """As long as its holder says so, nobody else takes the job up."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    for _ in range(3):
        await asyncio.sleep(0.5)
        assert await store.renew([lease]) == set()
    assert await store.take() is None


async def test_a_late_holder_is_heard_where_nobody_else_came(store: JobStore) -> None:
    """A lease that ran out unnoticed, while Redis was away, loses nothing."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    await asyncio.sleep(1.1)
    assert await store.finish(lease, DONE)
    assert await store.take() is None


async def test_events_are_numbered_and_read_from_the_middle(store: JobStore) -> None:
    """A reader gets what comes from a number on, and is told when there will be no more."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    await store.note(lease, ['{"type": "x"}'])
    assert await store.events("a", 2) == (['{"type": "x"}'], False)
    await store.finish(lease, DONE)
    assert await store.events("a", 2) == (['{"type": "x"}', '{"type": "last"}'], True)
    assert await store.events("a", 9) == ([], True)
    assert await store.events("nowhere", 0) == ([], True)


@pytest.mark.parametrize("taken", [True, False])
async def test_a_cancelled_job_stays_cancelled(store: JobStore, taken: bool) -> None:
    """Waiting or in hand, it is over: nobody takes it up, its holder is told and not heard."""
    await create(store)
    lease = await store.take() if taken else None
    assert await store.cancel("a", STOPPED)
    assert not await store.cancel("a", STOPPED)
    assert await store.take() is None
    if lease is not None:
        assert await store.renew([lease]) == {"a"}
        assert not await store.finish(lease, DONE)
    record = await store.get("a")
    assert record is not None
    assert (record.status, record.reply) == ("cancelled", '{"n": 2}')


async def test_what_has_ended_cannot_be_cancelled(store: JobStore) -> None:
    """The result stands."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    await store.finish(lease, DONE)
    assert not await store.cancel("a", STOPPED)


async def test_a_job_given_back_is_due_again(store: JobStore) -> None:
    """At once where it was not begun in earnest; later, and counted as an attempt, where it failed for now."""
    await create(store)
    first = await store.take()
    assert first is not None
    await store.release(first)
    second = await store.take()
    assert second is not None
    assert second.attempt == 1
    await store.release(second, after_s=0.3, counted=True)
    assert await store.take() is None
    await asyncio.sleep(0.35)
    third = await store.take()
    assert third is not None
    assert third.attempt == 2


async def test_a_deleted_job_is_forgotten(store: JobStore, redis: Redis) -> None:
    """Nothing of it is left, and whoever had it is told."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    assert await store.delete("a")
    assert not await store.delete("a")
    assert await store.renew([lease]) == {"a"}
    assert await redis.keys("*") == []


async def test_what_has_ended_is_kept_for_a_time_and_without_its_question(store: JobStore, redis: Redis) -> None:
    """A job that is not over has no time to live; one that is keeps what it came to, for `jobs.ttl_s`."""
    await create(store)
    lease = await store.take()
    assert lease is not None
    assert [await redis.ttl(key) for key in (PREFIX + "a", PREFIX + "a:events")] == [-1, -1]
    await store.finish(lease, DONE)
    assert all([0 < await redis.ttl(key) <= 60 for key in (PREFIX + "a", PREFIX + "a:events")])
    assert await redis.hget(PREFIX + "a", "ask") is None
    assert await redis.zcard(DUE) == 0


async def test_too_many_jobs_are_refused(redis_server: Any, redis: Redis) -> None:
    """What waits or runs is bounded; when one has ended there is room again."""
    store = JobStore(settings(redis_server.url, unfinished=2))
    await create(store, "a")
    await create(store, "b")
    lease = await store.take()
    assert lease is not None
    with pytest.raises(Overloaded):
        await create(store, "c")
    assert await store.get("c") is None
    await store.finish(lease, DONE)
    await create(store, "c")
    await store.aclose()


@pytest.mark.parametrize("redis", [None, "redis://127.0.0.1:1"])
async def test_without_redis_there_are_no_jobs(redis: str | None) -> None:
    """Not configured or not there: an error that says so, and no job that nobody would do."""
    store = JobStore(settings(redis))
    with pytest.raises(JobsUnavailable):
        await create(store)
    with pytest.raises(JobsUnavailable):
        await store.get("a")
    assert store.on == (redis is not None)
    await store.aclose()


async def test_many_takers_share_the_jobs(redis_server: Any, store: JobStore) -> None:
    """Forty takers in two gateways: each job is in exactly one hand."""
    other = JobStore(settings(redis_server.url))
    for number in range(30):
        await create(store, str(number))
    leases = await asyncio.gather(*(s.take() for s in (store, other) for _ in range(20)))
    taken = [lease.id for lease in leases if lease is not None]
    assert sorted(taken, key=int) == [str(number) for number in range(30)]
    await other.aclose()


async def test_jobs_are_counted_by_who_has_them(store: JobStore) -> None:
    """Waiting, taken up, and given back for later; what is over does not count."""
    assert await store.count() == (0, 0)
    for id in "abc":
        await create(store, id)
    assert await store.count() == (3, 0)
    lease = await store.take()
    assert lease is not None
    assert await store.count() == (2, 1)
    await store.release(lease, after_s=60)
    assert await store.count() == (2, 1)
    await store.cancel(lease.id, STOPPED)
    assert await store.count() == (2, 0)
