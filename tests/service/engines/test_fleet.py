"""Several servers of one engine: which has a request, what is sent again, and who is left alone."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Held, Json, delta, usage

from service.engines import pulse, retry
from service.engines.breaker import THRESHOLD
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.replica import Replica
from service.engines.reward import VllmScorer
from service.errors import EngineError, EngineTimeout, EngineUnavailable, QuestionTooLong
from service.search.ports import Bill, Place, Sampling
from service.settings import PolicySettings, RewardSettings

Make = Callable[..., Fleet]
Break = Callable[[Json], web.StreamResponse | Events]

BEGUN: list[Json | bytes] = [delta("It is", [4, 5])]
ENDED: list[Json | bytes] = [*BEGUN, delta(" 17", [6], "stop"), {**usage(9, 3, 8), "choices": []}]


def status(code: int) -> Break:
    return lambda _: web.Response(status=code, text='{"error": "out of order"}')


def rubbish(_: Json) -> web.Response:
    return web.Response(text="<html>")


def breaks(_: Json) -> Events:
    return Events([], then="break")


class InOrder:
    """A route: the first that can be asked, wherever the request stands."""

    def __call__(self, servers: Sequence[Replica], place: Place | None) -> Replica:
        return servers[0]


@pytest.fixture
async def fakes(at_end: AsyncExitStack) -> list[FakeVllm]:
    return [await at_end.enter_async_context(FakeVllm(name="small").running()) for _ in range(2)]


@pytest.fixture
def fleet(at_end: AsyncExitStack, fakes: list[FakeVllm]) -> Make:
    """Return what makes a fleet of both servers, or of `urls`, which asks them in order."""

    def make(*urls: str, **more: object) -> Fleet:
        settings = {"model": "small", "url": urls or [fake.url for fake in fakes], **more}
        made = Fleet(PolicySettings.model_validate(settings), route=InOrder())
        at_end.push_async_callback(made.aclose)
        return made

    return make


@pytest.fixture
def nowhere() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def read(fleet: Fleet, name: str = "r", place: Place | None = None) -> list[bytes]:
    stream = fleet.stream("/v1/completions", {}, request_id=name, place=place)
    events = []
    try:
        while (event := await stream.event()) is not None:
            events.append(event)
    except EngineError as error:
        stream.blame(error)
        raise
    finally:
        await stream.aclose()
    return events


def asked(fakes: list[FakeVllm], path: str) -> list[int]:
    return [len(fake.bodies(path)) for fake in fakes]


# --- which one ---


async def test_a_question_is_asked_at_its_home(fakes: list[FakeVllm], at_end: AsyncExitStack) -> None:
    """One after the other, all its requests go to one server; questions differ in which."""
    urls = [fake.url for fake in fakes]
    settings = PolicySettings.model_validate({"model": "small", "url": urls})
    made = await at_end.enter_async_context(Fleet(settings))
    for fake in fakes:
        fake.replies["/v1/completions"] = lambda _: Events(ENDED)
    for question in range(8):
        before = asked(fakes, "/v1/completions")
        for node in range(3):
            await read(made, place=made.place(bytes([question]), "search", node))
        after = asked(fakes, "/v1/completions")
        assert sorted(b - a for a, b in zip(before, after, strict=True)) == [0, 3]
    assert all(asked(fakes, "/v1/completions"))
    assert [replica.load for replica in made.replicas] == [0, 0]
    assert sum(replica.routed for replica in made.replicas) == 24
    assert made.spilled == 0


async def test_many_requests_of_one_question_spill(fakes: list[FakeVllm], at_end: AsyncExitStack) -> None:
    """Neither server has more than 1.25 times the mean of what is in flight."""
    settings = PolicySettings.model_validate({"model": "small", "url": [fake.url for fake in fakes]})
    made = await at_end.enter_async_context(Fleet(settings))
    streams = [
        made.stream("/v1/completions", {}, request_id=str(node), place=made.place(b"q", "search", node))
        for node in range(32)
    ]
    assert sorted(replica.load for replica in made.replicas) == [12, 20]
    assert made.spilled == 12
    for stream in streams:
        await stream.aclose()
    assert [replica.load for replica in made.replicas] == [0, 0]


async def test_an_abort_goes_to_the_server_that_has_the_request(fakes: list[FakeVllm], fleet: Make) -> None:
    """The other one has never heard of it."""
    for fake in fakes:
        fake.replies["/v1/completions"] = lambda _: Events(BEGUN, then="hold", aborted=[b"[DONE]"])
    made = fleet()
    one = made.each()[1].stream("/v1/completions", {}, request_id="r")
    assert await one.event() is not None

    async def read_on() -> None:
        while await one.event() is not None:
            pass

    await made.give_up("r", read_on)
    await one.aclose()
    assert (fakes[0].aborts, fakes[1].aborts) == ([], [["cmpl-r-0"]])


async def test_messages_name_the_server_where_there_are_several(fleet: Make, fakes: list[FakeVllm]) -> None:
    """By its number: where it is, is nobody's business."""
    for fake in fakes:
        fake.replies["/tokenize"] = status(404)
    with pytest.raises(EngineError, match=r"policy 'small' \(server 1 of 2\)"):
        await fleet().post("/tokenize", {})


# --- what is sent again ---


@pytest.mark.parametrize("breaking", [status(429), status(500), status(502), status(503), rubbish, breaks])
async def test_what_writes_nothing_is_asked_elsewhere(fakes: list[FakeVllm], fleet: Make, breaking: Break) -> None:
    """Whatever the first one has done: to tokenise and to score may be repeated."""
    fakes[0].replies["/tokenize"] = breaking
    made = fleet()
    assert await made.post("/tokenize", {"prompt": "a b"}) == {"tokens": [0, 1]}
    assert asked(fakes, "/tokenize") == [1, 1]
    assert made.retried == 1


@pytest.mark.parametrize("breaking", [status(400), status(401), status(404)])
async def test_what_the_request_is_to_blame_for_is_not_asked_again(
    fakes: list[FakeVllm], fleet: Make, breaking: Break
) -> None:
    """Another server of the same engine would say the same; and nobody is left alone for it."""
    fakes[0].replies["/tokenize"] = breaking
    made = fleet()
    for _ in range(2 * THRESHOLD):
        with pytest.raises(EngineError):
            await made.post("/tokenize", {})
    assert asked(fakes, "/tokenize") == [2 * THRESHOLD, 0]
    assert made.replicas[0].breaker.state == "closed"


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_a_generation_that_was_not_taken_is_asked_elsewhere(
    fakes: list[FakeVllm], fleet: Make, code: int
) -> None:
    """Nothing has been written, and nothing is being written."""
    fakes[0].replies["/v1/completions"] = status(code)
    fakes[1].replies["/v1/completions"] = lambda _: Events(ENDED)
    assert len(await read(fleet())) == 3


async def test_a_generation_that_nobody_was_there_for_is_asked_elsewhere(
    fakes: list[FakeVllm], fleet: Make, nowhere: str
) -> None:
    """The connection was refused."""
    fakes[1].replies["/v1/completions"] = lambda _: Events(ENDED)
    assert len(await read(fleet(nowhere, fakes[1].url))) == 3


@pytest.mark.parametrize("breaking", [status(500), breaks, lambda _: Events(BEGUN, then="break")])
async def test_a_generation_that_may_have_begun_is_not_asked_again(
    fakes: list[FakeVllm], fleet: Make, breaking: Break
) -> None:
    """It may be going on, and what came of it is for its reader to go on from."""
    fakes[0].replies["/v1/completions"] = breaking
    with pytest.raises(EngineError) as caught:
        await read(fleet())
    assert caught.value.elsewhere
    assert asked(fakes, "/v1/completions") == [1, 0]


async def test_nothing_is_sent_again_when_the_budget_is_used_up(fakes: list[FakeVllm], fleet: Make) -> None:
    """Where everything fails, repetitions would double the load."""
    for fake in fakes:
        fake.replies["/tokenize"] = status(503)
    made = fleet()
    while made._dispatch.budget.spend():
        pass
    with pytest.raises(EngineUnavailable):
        await made.post("/tokenize", {})
    assert sum(asked(fakes, "/tokenize")) == 1


async def test_a_request_is_sent_only_so_often(fakes: list[FakeVllm], fleet: Make) -> None:
    """Then its last error is told."""
    for fake in fakes:
        fake.replies["/tokenize"] = status(503)
    with pytest.raises(EngineUnavailable, match="503"):
        await fleet().post("/tokenize", {})
    assert sum(asked(fakes, "/tokenize")) == retry.MOST_TRIES


async def test_an_answer_that_may_have_been_paid_twice_tells_no_usage(fakes: list[FakeVllm], fleet: Make) -> None:
    """Whoever asked counts an estimate; after a refusal the usage is the whole cost."""
    for fake in fakes:
        fake.replies["/pooling"] = lambda _: web.json_response({"usage": {"prompt_tokens": 3}, "data": []})
    fakes[0].replies["/pooling"] = breaks
    assert await fleet().post("/pooling", {}) == {"data": []}
    fakes[0].replies["/pooling"] = status(503)
    assert (await fleet().post("/pooling", {}))["usage"] == {"prompt_tokens": 3}


async def test_a_score_that_was_asked_for_twice_is_estimated(fakes: list[FakeVllm], at_end: AsyncExitStack) -> None:
    """Its score is exact, its bill is not."""
    urls = [fake.url for fake in fakes]
    settings = RewardSettings.model_validate({"model": "small", "url": urls, "family": "classifier"})
    scorer = VllmScorer(settings, Fleet(settings, route=InOrder()))
    at_end.push_async_callback(scorer.aclose)
    row = {"usage": {"prompt_tokens": 3}, "data": [{"data": [0.75]}]}
    fakes[0].replies["/pooling"] = breaks
    fakes[1].replies["/pooling"] = lambda _: web.json_response(row)
    bill = Bill()
    assert await scorer.score("how many", ["one"], 0, bill) == (0.75,)
    assert not bill.exact


async def test_what_is_given_up_between_two_tries_is_not_sent_again(
    fakes: list[FakeVllm], fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it."""
    monkeypatch.setattr(retry, "BASE_S", 0.2)
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: high)
    fakes[0].replies["/v1/completions"] = status(503)
    made = fleet()
    asking = asyncio.create_task(made.post("/v1/completions", {}, request_id="r"))
    await fakes[0].reached("/v1/completions")
    await asyncio.sleep(0.05)
    await made.give_up("r", lambda: asyncio.shield(asking))
    with pytest.raises(EngineUnavailable):
        await asking
    assert asked(fakes, "/v1/completions") == [1, 0]


# --- who is left alone ---


async def test_a_server_that_fails_is_left_alone_until_it_is_well(fakes: list[FakeVllm], fleet: Make) -> None:
    """The others do its work meanwhile; within about a second of being well it is asked again."""
    fakes[0].replies["/v1/completions"] = status(500)
    fakes[0].replies["/health"] = status(503)
    fakes[1].replies["/v1/completions"] = lambda _: Events(ENDED)
    made = fleet()
    for _ in range(THRESHOLD):
        with pytest.raises(EngineError):
            await read(made)
    for _ in range(5):
        await read(made)
    assert asked(fakes, "/v1/completions") == [THRESHOLD, 5]
    assert [replica.breaker.state for replica in made.replicas] == ["open", "closed"]
    fakes[0].replies = {"/v1/completions": lambda _: Events(ENDED)}
    await half_open(made.replicas[0])
    await read(made)
    assert asked(fakes, "/v1/completions") == [THRESHOLD + 1, 5]
    assert made.replicas[0].breaker.state == "closed"


async def half_open(replica: Replica) -> None:
    for _ in range(300):
        if replica.breaker.state != "open":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is not asked again")


async def test_rubbish_counts_against_a_server_as_well(fakes: list[FakeVllm], fleet: Make) -> None:
    """Status 200 is not enough."""
    fakes[0].replies["/tokenize"] = rubbish
    made = fleet()
    for _ in range(THRESHOLD):
        await made.post("/tokenize", {"prompt": "a"})
    assert made.replicas[0].breaker.state == "open"


async def test_the_only_server_fails_fast_when_it_is_gone(fakes: list[FakeVllm], fleet: Make) -> None:
    """Not one more request is sent; the error says what happened last, and can be retried later."""
    fakes[0].replies["/v1/completions"] = status(500)
    fakes[0].replies["/health"] = status(503)
    made = fleet(fakes[0].url)
    for _ in range(THRESHOLD):
        with pytest.raises(EngineError, match="500"):
            await read(made)
    with pytest.raises(EngineUnavailable, match="out of order") as caught:
        await read(made)
    assert len(fakes[0].bodies("/v1/completions")) == THRESHOLD
    assert (caught.value.elsewhere, caught.value.begun) == (False, False)


async def test_a_server_that_hangs_is_left_for_another(
    fakes: list[FakeVllm], fleet: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes requests and says nothing, not even of its health: no need to wait for the whole limit."""
    monkeypatch.setattr(pulse, "SILENCE_S", 0.1)
    for path in ("/v1/completions", "/health", "/tokenize"):
        fakes[0].replies[path] = lambda _: Held({})
    fakes[1].replies["/v1/completions"] = lambda _: Events(ENDED)
    made = fleet(timeout_s=600)
    stream = asyncio.create_task(read(made))
    assert await asyncio.wait_for(made.post("/tokenize", {"prompt": "a"}), 20) == {"tokens": [0]}
    with pytest.raises(EngineTimeout):
        await stream
    assert made.replicas[0].breaker.state == "open"
    assert len(await read(made)) == 3


# --- what is counted ---


async def test_requests_are_counted_by_how_they_ended(fakes: list[FakeVllm], fleet: Make) -> None:
    """Answered; failed, and answered elsewhere; refused, whatever the error is raised as; given up."""
    made = fleet()
    first, second = made.replicas
    await made.post("/tokenize", {"prompt": "a"})
    fakes[0].replies["/tokenize"] = status(503)
    await made.post("/tokenize", {"prompt": "a"})
    fakes[0].replies["/tokenize"] = status(400)
    for kind in (EngineError, QuestionTooLong):
        with pytest.raises(kind):
            await made.post("/tokenize", {}, bad_request=kind)
    fakes[0].replies["/v1/completions"] = status(400)
    with pytest.raises(EngineError):
        await read(made)
    fakes[0].replies["/tokenize"] = lambda _: Held({})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(made.post("/tokenize", {"prompt": "a"}), 0.2)
    assert first.over == {"ok": 1, "failed": 1, "refused": 3, "left": 1}
    assert second.over == {"ok": 1}


async def test_a_stream_is_counted_when_it_is_over(fakes: list[FakeVllm], fleet: Make) -> None:
    """One that came to its end, and one that broke."""
    fakes[0].replies["/v1/completions"] = lambda _: Events(ENDED)
    made = fleet()
    await read(made)
    fakes[0].replies["/v1/completions"] = lambda _: Events(BEGUN, then="break")
    with pytest.raises(EngineError):
        await read(made, "s")
    assert made.replicas[0].over == {"ok": 1, "failed": 1}


# --- ready ---


async def test_an_engine_is_ready_when_one_server_is(
    fakes: list[FakeVllm], at_end: AsyncExitStack, nowhere: str
) -> None:
    """What is wrong with the others is told; where none writes, that is an error."""
    settings = PolicySettings.model_validate({"model": "small", "url": [nowhere, fakes[0].url]})
    policy = VllmPolicy(settings, Fleet(settings))
    at_end.push_async_callback(policy.aclose)
    one = [delta("17", [4], "length"), {**usage(9, 1, 8), "choices": []}]
    fakes[0].replies["/v1/completions"] = lambda _: Events(one)
    (note,) = await policy.ready()
    assert "server 1 of 2" in note
    fakes[0].replies["/v1/completions"] = status(500)
    with pytest.raises(EngineError):
        await policy.ready()


async def test_a_stream_that_was_refused_has_cost_nothing(fakes: list[FakeVllm], at_end: AsyncExitStack) -> None:
    """An error came instead of it, whatever its status."""
    settings = PolicySettings.model_validate({"model": "small", "url": fakes[0].url})
    policy = VllmPolicy(settings, Fleet(settings))
    at_end.push_async_callback(policy.aclose)
    fakes[0].replies["/v1/completions"] = status(500)
    bill = Bill()
    with pytest.raises(EngineError):
        await anext(policy.stream((0, 1, 2), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill))
    assert bill == Bill(exact=True)


async def test_a_prompt_that_was_cut_off_is_told_to_its_end(fakes: list[FakeVllm], at_end: AsyncExitStack) -> None:
    """Text lags behind the ids: the rest of it is asked for, so that another request can go on from there."""
    settings = PolicySettings.model_validate({"model": "small", "url": [fake.url for fake in fakes]})
    policy = VllmPolicy(settings, Fleet(settings, route=InOrder()))
    at_end.push_async_callback(policy.aclose)
    for fake in fakes:
        fake.ids("how many ? It is seventeen pens")
    fakes[0].replies["/v1/completions"] = lambda _: Events([delta(" It is", [3, 4, 5])], then="break")
    bill, text, ids = Bill(), "", ()
    stream = policy.stream((0, 1, 2), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill)
    with pytest.raises(EngineUnavailable) as caught:
        async for chunk in stream:
            text, ids = text + chunk.text, (*ids, *chunk.token_ids)
    assert (text, ids) == (" It is seventeen", (3, 4, 5))
    assert caught.value.elsewhere
    assert bill == Bill(prompt=3, cached=None, generated=3, exact=False)
