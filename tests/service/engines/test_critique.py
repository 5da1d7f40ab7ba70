import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines.fleet import Fleet
from service.engines.reward import VllmScorer
from service.errors import EngineError, EngineUnavailable, QuestionTooLong
from service.search.ports import Bill
from service.settings import RewardSettings

QUESTION = "how many ?"
STEPS = ["one is 1\n\n", "two is 3\n\n", "so 4"]
Asker = Callable[..., VllmScorer]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="chat").running())


@pytest.fixture
def judge(at_end: AsyncExitStack) -> Asker:
    def make(fake: FakeVllm, **family: object) -> VllmScorer:
        family = {"name": "judge", "critiques": 4, "max_tokens": 50, **family}
        settings = RewardSettings.model_validate({"model": "chat", "url": fake.url, "family": family})
        asker = VllmScorer(settings, Fleet(settings))
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


def written(text: str, prompt: int, reason: str = "stop") -> list[Json | bytes]:
    """A critique of six tokens in two events, and its cost."""
    half = len(text) // 2
    frames: list[Json | bytes] = [delta(text[:half], [1, 2, 3]), delta(text[half:], [4, 5, 6], reason)]
    return [*frames, {**usage(prompt, 6, 2), "choices": []}, b"[DONE]"]


def writes(fake: FakeVllm, texts: Sequence[str]) -> None:
    """Let the critique of each seed be the text of that number."""
    fake.replies["/v1/completions"] = lambda body: Events(written(texts[body["seed"]], len(body["prompt"])))


async def test_a_solution_is_scored_by_what_the_model_writes_of_it(fake: FakeVllm, judge: Asker) -> None:
    """Two of four critiques find the second step wrong; the box is cut in the middle by the network."""
    writes(fake, ["It is \\boxed{1}", "All right \\boxed{-1}", "\\boxed{1} .", "<think>\\boxed{0}</think>\\boxed{-1}"])
    assert await judge(fake).score(QUESTION, STEPS, 0, Bill()) == (1.0, 0.5, 0.5)


async def test_the_bill_has_what_was_read_and_what_was_written(fake: FakeVllm, judge: Asker) -> None:
    """Four prompts, and six tokens for each."""
    writes(fake, ["\\boxed{-1}"] * 4)
    bill = Bill()
    await judge(fake).score(QUESTION, STEPS, 0, bill)
    prompt = len(fake.bodies("/v1/completions")[0]["prompt"])
    assert bill == Bill(prompt=4 * prompt, cached=4 * 2, generated=4 * 6, exact=True)


async def test_a_critique_that_was_cut_off_is_written_anew_elsewhere(fake: FakeVllm, at_end: AsyncExitStack) -> None:
    """With its own seed, to the same score; what was lost makes the bill an estimate."""
    other = await at_end.enter_async_context(FakeVllm(name="chat").running())
    family = {"name": "judge", "critiques": 4, "max_tokens": 50}
    settings = RewardSettings.model_validate({"model": "chat", "url": [fake.url, other.url], "family": family})
    judge = VllmScorer(settings, Fleet(settings))
    at_end.push_async_callback(judge.aclose)
    left = {2, 3}  # seeds of which the first try breaks

    def write(body: Json) -> Events:
        whole = written("\\boxed{1}" if body["seed"] < 2 else "\\boxed{-1}", len(body["prompt"]))
        if body["seed"] in left:
            left.remove(body["seed"])
            return Events(whole[:1], then="break")
        return Events(whole)

    for server in (fake, other):
        server.replies["/v1/completions"] = write
    bill = Bill()
    assert await judge.score(QUESTION, STEPS, 0, bill) == (1.0, 0.5, 0.5)
    assert bill.generated >= 4 * 6
    assert not bill.exact


async def test_each_critique_is_sampled_as_the_family_says(fake: FakeVllm, judge: Asker) -> None:
    """Seeds differ; the prompt is the chat, tokenised once."""
    writes(fake, ["\\boxed{-1}"] * 2)
    await judge(fake, critiques=2, temperature=0.7, top_p=0.8).score(QUESTION, STEPS, 0, Bill())
    first, second = fake.bodies("/v1/completions")
    assert {first["seed"], second["seed"]} == {0, 1}
    assert {name: first[name] for name in ("max_tokens", "temperature", "top_p", "top_k")} == {
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 0,
    }
    assert first["prompt"] == second["prompt"]
    assert fake.text(first["prompt"]).startswith("[user] Below")
    assert len(fake.bodies("/tokenize")) == 1


async def test_a_critique_that_is_cut_off_is_no_vote(fake: FakeVllm, judge: Asker) -> None:
    """What it has in a box so far may be a thought."""

    def complete(body: Json) -> Events:
        cut = body["seed"] == 0
        return Events(written("\\boxed{0}" if cut else "\\boxed{-1}", 9, "length" if cut else "stop"))

    fake.replies["/v1/completions"] = complete
    assert await judge(fake).score(QUESTION, STEPS, 0, Bill()) == (1.0, 1.0, 1.0)


async def test_critiques_without_an_index_are_an_error_and_no_score(fake: FakeVllm, judge: Asker) -> None:
    """It says how many there were; what they have cost is on the bill."""
    writes(fake, ["\\boxed{1}", "?", "?", "\\boxed{3}"])
    bill = Bill()
    with pytest.raises(EngineError, match="1 of 4 critiques"):
        await judge(fake).score(QUESTION, STEPS, 0, bill)
    assert (bill.generated, bill.exact) == (24, True)


async def test_a_critique_that_may_not_fit_is_refused_before_the_engine_is_asked(fake: FakeVllm, judge: Asker) -> None:
    """The prompt fits, but not with the longest critique."""
    writes(fake, ["\\boxed{-1}"] * 4)
    await judge(fake).score(QUESTION, STEPS, 0, Bill())
    prompt = len(fake.bodies("/v1/completions")[0]["prompt"])
    fits, does_not = fake.context - prompt, fake.context - prompt + 1
    assert await judge(fake, max_tokens=fits).score(QUESTION, STEPS, 0, Bill())
    asked = len(fake.bodies("/v1/completions"))
    with pytest.raises(QuestionTooLong, match=f"{fake.context} in all"):
        await judge(fake, max_tokens=does_not).score(QUESTION, STEPS, 0, Bill())
    assert len(fake.bodies("/v1/completions")) == asked


async def test_the_price_is_the_most_that_a_score_can_cost(fake: FakeVllm, judge: Asker) -> None:
    """Prompts, and critiques of the longest kind."""
    writes(fake, ["\\boxed{-1}"] * 4)
    asker = judge(fake)
    price = await asker.price(QUESTION, STEPS, 0)
    bill = Bill()
    await asker.score(QUESTION, STEPS, 0, bill)
    assert price == bill.prompt + 4 * 50


async def test_a_critique_that_is_given_up_is_aborted_by_name_and_billed(fake: FakeVllm, judge: Asker) -> None:
    """What it had written by then is paid for."""
    aborted = [delta("", [], "abort"), {**usage(30, 3, 2), "choices": []}, b"[DONE]"]
    fake.replies["/v1/completions"] = lambda _: Events([delta("It", [1, 2, 3])], then="hold", aborted=aborted)
    bill = Bill()
    task = asyncio.create_task(judge(fake).score(QUESTION, STEPS, 0, bill))
    await fake.reached("/v1/completions", 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len({name for names in fake.aborts for name in names if name.startswith("cmpl-")}) == 4
    assert bill == Bill(prompt=4 * 30, cached=4 * 2, generated=4 * 3, exact=True)


@pytest.mark.parametrize(
    ("frames", "failure"),
    [
        ([delta("It", [1])], EngineError),
        ([delta("", [], "abort"), {**usage(9, 0, 0), "choices": []}], EngineUnavailable),
        ([{"error": {"message": "EngineCore"}}], EngineError),
        ([b"oops"], EngineError),
    ],
)
async def test_a_stream_that_is_not_a_whole_critique_is_an_error_and_no_score(
    fake: FakeVllm, judge: Asker, frames: list[Json | bytes], failure: type[EngineError]
) -> None:
    """Whatever it is, it is not a vote."""
    fake.replies["/v1/completions"] = lambda _: Events(frames)
    with pytest.raises(failure):
        await judge(fake).score(QUESTION, STEPS, 0, Bill())


async def test_one_critique_that_fails_is_the_failure_of_the_score(fake: FakeVllm, judge: Asker) -> None:
    """The others are aborted, and the bill stays open."""

    def complete(body: Json) -> web.Response | Events:
        if body["seed"] == 3:
            return web.Response(status=503)
        return Events([delta("It", [1])], then="hold", aborted=[{**usage(9, 1, 0), "choices": []}])

    fake.replies["/v1/completions"] = complete
    bill = Bill()
    with pytest.raises(EngineUnavailable):
        await judge(fake).score(QUESTION, STEPS, 0, bill)
    assert not bill.exact


async def test_a_judge_is_ready_when_it_writes(fake: FakeVllm, judge: Asker) -> None:
    """One token will do: whether a model judges well is not for a health check to say."""
    fake.replies["/v1/completions"] = lambda body: Events(written("It", len(body["prompt"]), "length"))
    await judge(fake).ready()
    assert [body["max_tokens"] for body in fake.bodies("/v1/completions")] == [1]


async def test_a_judge_is_ready_when_it_can_write(fake: FakeVllm, judge: Asker) -> None:
    """One token of one critique shows it: whole ones would cost minutes, each time somebody asks."""
    fake.replies["/v1/completions"] = lambda body: Events(written("We", len(body["prompt"]), "length"))
    await judge(fake).ready()
    assert [body["max_tokens"] for body in fake.bodies("/v1/completions")] == [1]


async def test_the_price_of_a_judge_has_what_it_may_write(fake: FakeVllm, judge: Asker) -> None:
    """Four times the prompt and the longest critique: that is set aside of the budget."""
    asker = judge(fake)
    writes(fake, ["\\boxed{-1}"] * 4)
    bill = Bill()
    price = await asker.price(QUESTION, STEPS, 0)
    await asker.score(QUESTION, STEPS, 0, bill)
    assert price == bill.prompt + 4 * 50
