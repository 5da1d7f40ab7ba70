"""Two vLLM servers of one policy: what they write, and what becomes of a search when one hangs or is killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nursery import Nursery

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.library import solve
from service.search.request import SearchResult
from service.search.trace import Grown, Told, from_json
from service.settings import PolicySettings
from service.stack.engine import detect_profile, engine_command
from service.stack.ports import free_ports
from service.stack.processes import Pid
from service.stack.ready import http_answers
from strategies.protocol import Ended
from strategies.protocol import Path as Node

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

MODEL = Path(__file__).resolve().parents[3] / "models" / "tiny-policy"
QUESTION = "Al has 17 pens. Bo has 4 more pens than Al. Cy has 3 fewer pens than Bo. How many pens does Cy have?"
SAMPLES = 48
START_LIMIT_S = 240
LEFT_WITHIN_S = 20
"""A server that hangs is left after some 8 s; the rest is the search, on a machine that may be busy."""


@dataclass(frozen=True, slots=True)
class Two:
    """Two servers, and how a search asks them."""

    settings: PolicySettings
    processes: list[Pid]

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to all that belongs to a server."""
        os.killpg(self.processes[number].pid, what)


@pytest.fixture(scope="module")
def two(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Start two servers of the tiny policy, by the very command that `mull up` has."""
    folder, ports, profile = tmp_path_factory.mktemp("replicas"), free_ports(), detect_profile()
    urls = [f"http://127.0.0.1:{next(ports)}" for _ in range(2)]
    settings = PolicySettings.model_validate({"model": str(MODEL), "served_name": "tiny-policy", "url": urls})
    processes: list[Pid] = []
    try:
        for number, url in enumerate(settings.urls):
            command = engine_command(settings, port=url.port or 0, profile=profile, on_card=2)
            processes.append(nursery.start(command, folder / f"vllm-{number}.log"))
            if profile == "gpu":
                _wait(str(url))  # two that start at once on one card each take the other's memory for free
        for url in settings.urls:
            _wait(str(url))
        yield Two(settings, processes)
    finally:
        for process in processes:
            nursery.stop(process)


def _wait(url: str) -> None:
    asyncio.run(asyncio.wait_for(http_answers(f"{url}health"), START_LIMIT_S))


@pytest.fixture
async def fleet(two: Two) -> AsyncIterator[Fleet]:
    async with Fleet(two.settings) as made:
        yield made


async def search(two: Two, fleet: Fleet) -> SearchResult:
    strategy = {"name": "majority_vote", "samples": SAMPLES, "early_stop": "off"}
    policy = VllmPolicy(two.settings, fleet)
    budget = {"deadline_ms": 60_000}
    return await solve(QUESTION, policy=policy, strategy=strategy, seed=7, budget=budget, trace=True)


def texts(result: SearchResult) -> dict[Node, str]:
    """Return what each candidate that came to its end has written."""
    events = [record.event for record in map(from_json, result.trace or ()) if isinstance(record, Told)]
    return {event.node: event.text for event in events if isinstance(event, Ended)}


async def check(result: SearchResult, fleet: Fleet) -> None:
    """All samples are there, and the ids of each, of however many requests, say what its text says."""
    assert len(texts(result)) == SAMPLES
    ids: dict[Node, list[int]] = {}
    for record in map(from_json, result.trace or ()):
        if isinstance(record, Grown):
            ids.setdefault(record.node, []).extend(record.token_ids)
    assert any(record.bill.exact is False for record in map(from_json, result.trace or ()) if isinstance(record, Grown))
    for node, text in texts(result).items():
        decoded = (await fleet.post("/detokenize", {"tokens": ids[node]}))["prompt"]
        assert decoded.strip().startswith(text.strip())


async def lose_the_second(two: Two, fleet: Fleet, how: signal.Signals) -> None:
    """Wait until both servers write, then send the second one a signal."""
    await _until(lambda: all(replica.load > 4 for replica in fleet.replicas))
    await asyncio.sleep(0.1)
    two.signal(1, how)


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("that does not come")


async def test_two_servers_write_what_one_writes(two: Two, fleet: Fleet) -> None:
    """The same seeds, the same texts, wherever each was written; both have had their part."""
    alone = fleet.each()[0]
    assert texts(await search(two, fleet)) == texts(await search(two, alone))
    first, second = fleet.replicas
    assert min(first.routed, second.routed) > SAMPLES // 5
    assert (first.load, second.load) == (0, 0)


async def test_a_search_goes_on_without_a_server_that_hangs(two: Two, fleet: Fleet) -> None:
    """Nothing comes from it, not even that it is well: the other one writes the rest."""
    losing = asyncio.create_task(lose_the_second(two, fleet, signal.SIGSTOP))
    try:
        result = await asyncio.wait_for(search(two, fleet), LEFT_WITHIN_S)
        await check(result, fleet)
        assert fleet.replicas[1].breaker.state == "open"
    finally:
        await losing
        two.signal(1, signal.SIGCONT)
    await _until(lambda: fleet.replicas[1].breaker.state == "half open")


async def test_a_search_goes_on_without_a_server_that_is_killed(two: Two, fleet: Fleet) -> None:
    """The last test of these: nobody starts it again."""
    losing = asyncio.create_task(lose_the_second(two, fleet, signal.SIGKILL))
    result = await search(two, fleet)
    await losing
    await check(result, fleet)
    assert [fleet.replicas[0].breaker.state, fleet.replicas[1].breaker.state] == ["closed", "open"]
