"""A job that no gateway of this version can read ends once, as a failed one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.jobs.runner import Again, Runner
from service.jobs.scripts import PREFIX
from service.jobs.store import Ending, JobStore, Lease
from service.settings import Settings

BASE = {"policies": {"p": {"model": "some/policy"}}, "models": {"tiny": {"policy": "p"}}, "jobs": {"lease_s": 1}}
REPLY = '{"id": "a", "model": "tiny", "status": "queued", "news": 1}'


@pytest.fixture
async def store(redis_server: Any) -> AsyncIterator[JobStore]:
    """Jobs in an empty server, with leases of a second."""
    made = JobStore(Settings.model_validate(BASE | {"redis": {"url": redis_server.url}}))
    yield made
    await made.aclose()


async def ended(store: JobStore, begun: list[str]) -> dict[str, Any]:
    """Let a runner do job `a`, whose reading fails; return what it came to."""

    async def work(lease: Lease) -> Ending | Again:
        begun.append(lease.id)
        raise ValueError("what is this?")

    async with Runner(store, work, 4).running():
        for _ in range(1000):
            record = await store.get("a")
            assert record is not None
            if record.status == "failed":
                found: dict[str, Any] = json.loads(record.reply)
                return found
            await asyncio.sleep(0.01)
    pytest.fail("the job has not ended")


async def test_a_job_of_another_version_is_not_begun(store: JobStore, redis_server: Any) -> None:
    """It fails with a word about why, and keeps what its client knows of it."""
    await store.create("a", "ask", REPLY, "", ['{"type": "response.created"}'])
    with redis_server.client() as beside:
        beside.hset(PREFIX + "a", "format", "0")
    begun: list[str] = []
    found = await ended(store, begun)
    assert begun == []
    assert (found["status"], found["model"], found["news"]) == ("failed", "tiny", 1)
    assert "another version" in found["error"]["message"]
    events, last = await store.events("a", 0)
    assert last
    assert [json.loads(event)["type"] for event in events] == ["response.created", "response.failed"]


async def test_a_job_from_before_there_were_formats_is_done(store: JobStore, redis_server: Any) -> None:
    """It is kept as the first format is."""
    await store.create("a", "ask", REPLY, "", [])
    with redis_server.client() as beside:
        beside.hdel(PREFIX + "a", "format")
    lease = await store.take()
    assert lease is not None
    assert (lease.format, lease.ask) == ("1", "ask")


@pytest.mark.parametrize("reply", [REPLY, "no JSON", "[]"])
async def test_a_job_that_cannot_be_read_is_begun_once(store: JobStore, reply: str) -> None:
    """And not again whenever its lease has run out."""
    await store.create("a", "ask", reply, "", [])
    begun: list[str] = []
    found = await ended(store, begun)
    assert begun == ["a"]
    assert (found["id"], found["status"], found["error"]["code"]) == ("a", "failed", "server_error")
    assert await store.take() is None
