"""The connection to Ray: made once, watched, given up."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from service.errors import EngineUnavailable
from service.gateway import ray_link
from service.gateway.ray_link import RayLink, WorkerLost
from service.gateway.workers import RayWorkers


class Cluster:
    """What Ray says: `alive` is whether we belong to it, `None` that its head is silent."""

    def __init__(self) -> None:
        self.alive: bool | None = True
        self.joined = 0
        self.gone = 0

    def join(self, _: str | None) -> None:
        """Count those who come."""
        self.joined += 1

    def note_gone(self) -> None:
        """Count how often it is said to be gone."""
        self.gone += 1

    def holds(self) -> bool:
        """Answer, or raise what stands for silence."""
        if self.alive is None:
            raise ConnectionError("no head")
        return self.alive


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(ray_link, "_join", cluster.join)
    monkeypatch.setattr(ray_link, "_application", lambda: "handle")
    monkeypatch.setattr(ray_link, "Membership", lambda: cluster)
    monkeypatch.setattr(ray_link, "WATCH_S", 0.005)
    return cluster


@pytest.fixture
async def link(cluster: Cluster) -> AsyncIterator[RayLink]:
    link = RayLink("127.0.0.1:1", cluster.note_gone)
    yield link
    await link.aclose()


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not there():  # noqa: ASYNC110  # what is waited for happens in a thread
            await asyncio.sleep(0.005)


async def test_one_connection_serves_all_calls(cluster: Cluster, link: RayLink) -> None:
    """It is made once, also for those that come at the same time."""
    assert await asyncio.gather(link.handle(), link.handle()) == ["handle"] * 2
    assert await link.handle() == "handle"
    assert cluster.joined == 1


async def test_calls_are_cut_when_the_cluster_is_gone(cluster: Cluster, link: RayLink) -> None:
    """A head that was started anew does not know us: nobody would ever answer what is in flight."""
    await link.handle()
    cluster.alive = False
    with pytest.raises(WorkerLost, match="cluster was lost"):
        async with asyncio.timeout(5), link.calling("search"):
            await asyncio.Event().wait()


async def test_cluster_that_is_gone_stays_gone(cluster: Cluster, link: RayLink) -> None:
    """A process has one in its life: its owner is told once, and calls are refused until it has ended."""
    await link.handle()
    cluster.alive = False
    await until(lambda: cluster.gone > 0)
    cluster.alive = True
    with pytest.raises(EngineUnavailable, match="cluster was lost"):
        await link.handle()
    assert link.problem is not None
    assert (cluster.joined, cluster.gone) == (1, 1)


async def test_cluster_is_watched_before_its_workers_are_there(
    cluster: Cluster, link: RayLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go before they come."""

    def none_yet() -> None:
        raise EngineUnavailable("no workers")

    monkeypatch.setattr(ray_link, "_application", none_yet)
    with pytest.raises(EngineUnavailable, match="no workers"):
        await link.handle()
    cluster.alive = False
    await until(lambda: cluster.gone == 1)


async def test_silent_head_cuts_no_call(cluster: Cluster, link: RayLink) -> None:
    """Workers are reached without it, and it may come back; readiness says what is wrong meanwhile."""
    await link.handle()
    cluster.alive = None
    async with link.calling("search"):
        await until(lambda: link.problem is not None)
        cluster.alive = True
        await until(lambda: link.problem is None)
    assert cluster.gone == 0


async def test_readiness_tells_of_a_silent_head(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, instead of asking workers that may not be there."""
    silent = EngineUnavailable("The Ray cluster's head does not answer.")
    monkeypatch.setattr(RayLink, "problem", silent)
    assert await RayWorkers("127.0.0.1:1", cluster.note_gone).ready() == [silent]


async def test_head_that_stays_silent_is_given_up(
    cluster: Cluster, link: RayLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Ray ends this process for it."""
    monkeypatch.setattr(ray_link, "SILENT_S", 0.05)
    await link.handle()
    cluster.alive = None
    with pytest.raises(WorkerLost):
        async with asyncio.timeout(5), link.calling("search"):
            await asyncio.Event().wait()


async def test_head_that_hangs_is_silent(cluster: Cluster, link: RayLink, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, not in more and more threads."""
    release, asked = threading.Event(), []

    def hang(_: Cluster) -> bool:
        asked.append(1)
        return release.wait(5)

    monkeypatch.setattr(ray_link, "ANSWER_S", 0.02)
    monkeypatch.setattr(Cluster, "holds", hang)
    await link.handle()
    await until(lambda: link.problem is not None)
    await asyncio.sleep(0.05)
    assert len(asked) == 1
    release.set()
    await until(lambda: link.problem is None)


async def test_cancelled_call_is_cancelled(cluster: Cluster, link: RayLink) -> None:
    """A client that goes away is no lost cluster."""
    await link.handle()

    async def call() -> None:
        async with link.calling("search"):
            await asyncio.Event().wait()

    calling = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_time_out_within_a_call_stays_one(cluster: Cluster, link: RayLink) -> None:
    """The deadline of a request is no lost cluster either."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), link.calling("search"):
            await asyncio.Event().wait()
