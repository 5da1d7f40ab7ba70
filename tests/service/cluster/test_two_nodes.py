"""The search workers on a cluster of two Ray nodes, behind a gateway: scaled, upgraded, killed, cut off."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import psutil
import pytest
import pytest_asyncio
from slow_engine import SlowEngine
from two_nodes import TwoNodes, two_nodes

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 15.0
SAMPLES = 4
SCALED_S = 40.0
LIMIT = 250

Ask = Callable[..., Awaitable[httpx.Response]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[SlowEngine]:
    async with SlowEngine().running() as engine:
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(engine: SlowEngine) -> AsyncIterator[TwoNodes]:
    cluster = two_nodes(engine.url)
    yield await asyncio.to_thread(cluster.__enter__)
    await asyncio.to_thread(cluster.__exit__, None, None, None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(nodes: TwoNodes) -> AsyncIterator[Ask]:
    """Asks a question, one word, and returns the response."""
    async with httpx.AsyncClient(timeout=DEADLINE_S + 1) as client:

        async def ask(question: str, **budget: int) -> httpx.Response:
            body = {
                "model": "slow",
                "messages": [{"role": "user", "content": question}],
                "max_completion_tokens": 40,
                "mull": {
                    "strategy": {"name": "majority_vote", "samples": SAMPLES, "early_stop": "off"},
                    "budget": {"deadline_ms": int(DEADLINE_S * 1000), **budget},
                },
            }
            return await client.post(f"{nodes.gateway_url}/v1/chat/completions", json=body)

        yield ask


class Load:
    """So many searches at all times, while the context lasts; `statuses` counts how they ended."""

    def __init__(self, ask: Ask, name: str, at_once: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._ask, self._name, self._at_once = ask, name, at_once
        self._over = False

    async def __aenter__(self) -> "Load":
        self._asking = [asyncio.create_task(self._chain(chain)) for chain in range(self._at_once)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._asking)

    async def _chain(self, chain: int) -> None:
        number = 0
        while not self._over:
            number += 1
            self.statuses[(await self._ask(f"{self._name}{chain}x{number}")).status_code] += 1


async def until(there: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(SCALED_S):
            while not there():  # noqa: ASYNC110  # other processes give no sign
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{what} within {SCALED_S:g} s") from None


def workers(nodes: TwoNodes) -> list[int]:
    return [*nodes.replicas("head"), *nodes.replicas("second")]


def asks(worker: int, engine: SlowEngine) -> bool:
    """Whether a worker has connections to the engine."""
    port = int(engine.url.rpartition(":")[2])
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(worker).net_connections(kind="tcp")
        return any(connection.raddr and connection.raddr.port == port for connection in found)
    return False


async def test_load_brings_a_worker_on_the_other_node(nodes: TwoNodes, engine: SlowEngine, ask: Ask) -> None:
    """It takes its part of the searches, and none is dropped."""
    assert len(workers(nodes)) == 1
    async with Load(ask, "up", at_once=8) as load:
        await until(lambda: bool(nodes.replicas("head") and nodes.replicas("second")), "no second worker")
        await until(lambda: all(asks(worker, engine) for worker in workers(nodes)), "a worker got no search")
    assert set(load.statuses) == {200}


async def test_searches_of_a_killed_worker_are_made_again(nodes: TwoNodes, engine: SlowEngine, ask: Ask) -> None:
    """Within their deadlines; those with limits keep them, both workers together."""
    budgets: list[dict[str, int]] = [{}, {"policy_tokens": LIMIT}] * 6
    asking = [asyncio.create_task(ask(f"killed{place}", **budget)) for place, budget in enumerate(budgets)]
    await asyncio.sleep(0.8)
    os.kill(nodes.replicas("second")[0], signal.SIGKILL)
    replies = await asyncio.gather(*asking)
    assert [reply.status_code for reply in replies] == [200] * len(budgets), [reply.text for reply in replies]
    again = [place for place, reply in enumerate(replies) if "lost" in str(reply.json()["mull"]["warnings"])]
    assert again
    assert all(replies[place].json()["mull"]["usage"]["policy"]["estimated"] for place in again)
    assert all(engine.written[f"killed{place}"] <= LIMIT for place in again if budgets[place])


async def test_worker_that_is_one_too_many_finishes_its_searches(nodes: TwoNodes, ask: Ask) -> None:
    """Searches go on one at a time until one worker is left; none is dropped."""
    async with Load(ask, "between", at_once=8):
        await until(lambda: len(workers(nodes)) == 2, "no second worker")
    async with Load(ask, "down", at_once=1) as load:
        await until(lambda: len(workers(nodes)) == 1, "no worker ended")
    assert set(load.statuses) == {200}


async def test_upgrade_drops_nothing(nodes: TwoNodes, ask: Ask) -> None:
    """The new version's worker runs before the old one, which finishes its searches, ends."""
    (old,) = workers(nodes)
    ready = nodes.folder / "upgraded"
    async with Load(ask, "upgrade", at_once=2) as load:
        nodes.start("upgrade", sys.executable, "-m", "service.stack.workers", "--ready-file", str(ready))
        await until(lambda: ready.exists() and old not in workers(nodes), "no upgrade")
    assert set(load.statuses) == {200}


async def test_searches_of_a_lost_node_are_made_again(nodes: TwoNodes, ask: Ask) -> None:
    """Ray is told nothing: the node is just gone."""
    async with Load(ask, "more", at_once=8):
        await until(lambda: bool(nodes.replicas("head") and nodes.replicas("second")), "no second worker")
    asking = [asyncio.create_task(ask(f"node{place}")) for place in range(8)]
    await asyncio.sleep(0.8)
    os.kill(nodes.raylet("second"), signal.SIGKILL)
    replies = await asyncio.gather(*asking)
    assert [reply.status_code for reply in replies] == [200] * 8, [reply.text for reply in replies]
    assert (await ask("afterwards")).status_code == 200
