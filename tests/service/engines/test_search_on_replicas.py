"""A search on two servers of a policy, of which one goes wrong on the way: the answer has all samples."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Held, Json

from service.engines import pulse
from service.engines.breaker import THRESHOLD
from service.errors import EngineError, EngineUnavailable
from service.library import solve
from service.search.request import SearchResult
from service.search.trace import Grown, Told, from_json
from service.settings import PolicySettings, RewardSettings
from strategies.protocol import Ended, Path

SAMPLES = 16
QUESTION = "how many ?"
STEPS = "a1 b1 c1 d1 e1 f1 g1 h1 . \n\n a2 b2 c2 d2 e2 f2 g2 h2 . \n\n a3 b3 c3 d3 e3 f3 g3 h3 so \\boxed{17}"
ASKED = f"[user] {QUESTION} "
WORDS = dict.fromkeys([*ASKED.split(), *STEPS.replace("\n\n", "").split(), "\n\n", " "])

Fault = Callable[["Server", Json], web.StreamResponse | Events | Held]


class Server(FakeVllm):
    """Writes the same solution to everyone, word for word, and goes wrong after `well` requests."""

    def __init__(self, well: int = 10**6, fault: Fault | None = None) -> None:
        super().__init__(name="small", vocabulary=list(WORDS))
        self.well = well
        self.replies["/v1/completions"] = self.write
        self.fault = fault

    def write(self, body: Json) -> web.StreamResponse | Events | Held:
        if self.fault is not None and len(self.bodies("/v1/completions")) > self.well:
            return self.fault(self, body)
        return Events(self.frames(body))

    def frames(self, body: Json) -> list[Json | bytes]:
        """Return the events of a whole answer."""
        return self._continue(body, self.ids(ASKED + STEPS))


def cut(server: Server, body: Json) -> Events:
    return Events(server.frames(body)[:2], then="break")


def five_hundred(_: Server, __: Json) -> web.Response:
    return web.Response(status=500, text="EngineCore")


def rubbish(server: Server, body: Json) -> Events:
    return Events([*server.frames(body)[:1], b"<html>"])


def hangs(server: Server, body: Json) -> Events:
    server.replies["/health"] = lambda _: Held({})
    server.replies["/detokenize"] = lambda _: Held({})
    return Events(server.frames(body)[:1], then="hold")


@pytest.fixture
def two(at_end: AsyncExitStack) -> Callable[..., object]:
    async def start(well: int, fault: Fault) -> tuple[list[Server], PolicySettings]:
        # Either may be the question's home: both go wrong, but only the one that first gets so far.
        servers = [Server(well, fault), Server(well, fault)]

        def once(server: Server, body: Json) -> web.StreamResponse | Events | Held:
            for other in servers:
                if other is not server:
                    other.fault = None
            return fault(server, body)

        for server in servers:
            server.fault = once
            await at_end.enter_async_context(server.running())
        settings = {"model": "small", "url": [server.url for server in servers], "timeout_s": 60}
        return servers, PolicySettings.model_validate(settings)

    return start


async def search(policy: PolicySettings, **more: object) -> SearchResult:
    strategy = {"name": "majority_vote", "samples": SAMPLES, "early_stop": "off"}
    budget = {"deadline_ms": 20_000, **more.pop("budget", {})}  # type: ignore[dict-item]
    return await solve(QUESTION, policy=policy, strategy=strategy, budget=budget, trace=True, n=1, **more)  # type: ignore[arg-type]


def ended(result: SearchResult) -> list[str]:
    """Return the texts of all candidates that came to their end."""
    return [
        told.event.text
        for told in map(from_json, result.trace or ())
        if isinstance(told, Told) and isinstance(told.event, Ended)
    ]


def written(result: SearchResult) -> dict[Path, tuple[int, ...]]:
    """Return the token ids of each candidate, of all its requests."""
    ids: dict[Path, tuple[int, ...]] = {}
    for record in map(from_json, result.trace or ()):
        if isinstance(record, Grown):
            ids[record.node] = (*ids.get(record.node, ()), *record.token_ids)
    return ids


@pytest.mark.parametrize("fault", [cut, five_hundred, rubbish, hangs])
async def test_a_search_goes_on_elsewhere(
    two: Callable[..., object], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sample is there, word for word; what was lost is on the bill, as an estimate. A refusal costs nothing."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.1)
    servers, policy = await two(2, fault)  # type: ignore[misc]
    result = await search(policy)
    assert ended(result) == [STEPS] * SAMPLES
    assert set(written(result).values()) == {tuple(servers[0].ids(STEPS))}
    assert result.usage.policy.estimated is (fault is not five_hundred)
    assert all(server.bodies("/v1/completions") for server in servers)


async def test_a_search_goes_on_when_a_server_is_killed(two: Callable[..., object]) -> None:
    """Open streams break, and nobody listens any more."""
    deaths: list[asyncio.Task[None]] = []

    def killed(server: Server, body: Json) -> Events:
        if not deaths:
            deaths.append(asyncio.create_task(server.die()))
        return Events(server.frames(body)[:1], then="hold")

    _, policy = await two(1, killed)  # type: ignore[misc]
    result = await search(policy)
    assert ended(result) == [STEPS] * SAMPLES


async def test_the_only_server_that_dies_ends_the_search_at_once(at_end: AsyncExitStack) -> None:
    """The search tries where it was, meets nobody, and says so long before its deadline."""
    server = Server(2, cut)
    await at_end.enter_async_context(server.running())
    server.replies["/detokenize"] = lambda _: web.Response(status=503)
    began = asyncio.get_running_loop().time()
    with pytest.raises(EngineUnavailable):
        await search(PolicySettings.model_validate({"model": "small", "url": server.url}))
    assert asyncio.get_running_loop().time() - began < 10


async def test_a_question_that_breaks_every_server_is_given_up(two: Callable[..., object]) -> None:
    """A stream goes on only so often."""
    servers, policy = await two(0, five_hundred)  # type: ignore[misc]
    for server in servers:
        server.fault = five_hundred
    with pytest.raises(EngineError):
        await search(policy, budget={"parallel": 1})
    assert sum(len(server.bodies("/v1/completions")) for server in servers) <= 2 * THRESHOLD


async def test_what_is_kept_to_a_form_does_not_go_on(two: Callable[..., object]) -> None:
    """A grammar begins at the beginning: a text that was cut off cannot be held to it."""
    _, policy = await two(2, cut)  # type: ignore[misc]
    with pytest.raises(EngineUnavailable):
        await search(policy, constraint={"form": "regex", "text": ".*"})


async def test_scores_come_from_the_other_server(at_end: AsyncExitStack) -> None:
    """A reward model that nobody answers for at one of its two addresses scores everything at the other."""
    writer = await at_end.enter_async_context(Server().running())
    judge = await at_end.enter_async_context(FakeVllm(name="judge", context=4096).running())
    judge.replies["/pooling"] = lambda _: web.json_response({"usage": {"prompt_tokens": 3}, "data": [{"data": [0.5]}]})
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    reward = RewardSettings.model_validate({"model": "judge", "url": [nowhere, judge.url], "family": "classifier"})
    policy = PolicySettings.model_validate({"model": "small", "url": writer.url})
    strategy = {"name": "best_of_n", "samples": 4, "early_stop": "off"}
    result = await solve(QUESTION, policy=policy, reward=reward, strategy=strategy)
    assert result.choices[0].answer == "17"
