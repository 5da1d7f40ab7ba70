"""A policy as the judge of solutions that it is given."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_vllm import FakeVllm, Held, Json, usage

from service.engines.fleet import Fleet
from service.engines.policy_scorer import PolicyScorer
from service.errors import EngineError, EngineUnavailable, InvalidRequest, QuestionTooLong
from service.search.ports import Bill
from service.settings import PolicySettings, StepForm

QUESTION = "how many ?"
STEPS = ["one is 1", "so 3"]
Asker = Callable[..., PolicyScorer]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    """Knows the token at place n of a prompt with probability 1/n, and two others with 1/2 and 1/4."""
    fake = FakeVllm(name="policy", context=16)
    fake.replies["/v1/completions"] = lambda body: answer(body, [listed(body, n) for n in range(len(body["prompt"]))])
    return await at_end.enter_async_context(fake.running())


@pytest.fixture
def scorer(at_end: AsyncExitStack) -> Asker:
    def make(fake: FakeVllm, source: str = "mean_logprob", **more: object) -> PolicyScorer:
        settings = PolicySettings.model_validate({"model": "policy", "url": fake.url, **more})
        asker = PolicyScorer(settings, Fleet(settings), source)
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


def listed(body: Json, place: int) -> Json | None:
    """What vLLM lists at one place of the prompt: the most probable tokens, and the prompt's own; nothing at first."""
    if place == 0:
        return None
    top = {"900": log(1 / 2), "901": log(1 / 4)} if body["prompt_logprobs"] else {}
    known = {**top, str(body["prompt"][place]): -log(place)}
    return {token: {"logprob": logprob, "rank": 1} for token, logprob in known.items()}


def answer(body: Json, prompt_logprobs: Sequence[Any]) -> web.Response:
    choice = {"text": "x", "finish_reason": "length", "prompt_logprobs": prompt_logprobs}
    return web.json_response({"choices": [choice], **usage(len(body["prompt"]), 1, 0)})


async def test_a_step_has_the_mean_probability_of_its_tokens(fake: FakeVllm, scorer: Asker) -> None:
    """Question of 4 tokens, a step of 3 and its separator, a step of 2: places 4 to 7, and 8 and 9."""
    bill = Bill()
    scores = await scorer(fake).score(QUESTION, STEPS, 0, bill)
    assert scores == pytest.approx(((4 * 5 * 6 * 7) ** (-1 / 4), (8 * 9) ** (-1 / 2)))
    assert bill == Bill(prompt=10, cached=0, generated=1, exact=True)


async def test_self_certainty_reads_the_most_probable_tokens(fake: FakeVllm, scorer: Asker) -> None:
    """k = 2, whatever the step's own tokens are: c = -log(2 · 1/2)/2 - log(2 · 1/4)/2, as c / (1 + c)."""
    certainty = log(2) / 2
    scores = await scorer(fake, "self_certainty@2").score(QUESTION, STEPS, 0, Bill())
    assert scores == pytest.approx((certainty / (1 + certainty),) * 2)
    assert fake.bodies("/v1/completions")[0]["prompt_logprobs"] == 2


async def test_the_prompt_is_what_the_policy_would_have_written(fake: FakeVllm, scorer: Asker) -> None:
    """Separators between the steps, none at the end; the configured system message stands first."""
    asker = scorer(fake, prompt={"system": "be brief"})
    await asker.score(QUESTION, [" one is 1\n\n", "so 3 "], 0, Bill())
    assert fake.text(fake.bodies("/v1/completions")[0]["prompt"]) == (
        "[system] be brief [user] how many ? one is 1 \n\n so 3"
    )


async def test_one_request_reads_all_steps(fake: FakeVllm, scorer: Asker) -> None:
    """Those before `first` are context."""
    asker = scorer(fake)
    scores = await asker.score(QUESTION, STEPS, 1, Bill())
    assert scores == (await asker.score(QUESTION, STEPS, 0, Bill()))[1:]
    assert asker.reads == "solution"
    assert len(fake.bodies("/v1/completions")) == 2


async def test_the_price_is_what_a_score_submits(fake: FakeVllm, scorer: Asker) -> None:
    """It is known before anything is submitted."""
    assert await scorer(fake).price(QUESTION, STEPS, 0) == 10
    assert fake.bodies("/v1/completions") == []


async def test_a_solution_that_does_not_fit_is_refused_before_the_engine_is_asked(
    fake: FakeVllm, scorer: Asker
) -> None:
    """The context is 16 tokens, of which one is written: 15 fit."""
    bill, asker = Bill(), scorer(fake)
    assert await asker.price(QUESTION, ["a " * 11], 0) == 15
    with pytest.raises(QuestionTooLong, match="takes 16 in all"):
        await asker.score(QUESTION, ["a " * 12], 0, bill)
    assert fake.bodies("/v1/completions") == []
    assert bill == Bill(exact=True)


async def test_an_empty_last_step_has_no_score(fake: FakeVllm, scorer: Asker) -> None:
    """Nothing was written there; an empty step before others is its separator."""
    asker = scorer(fake)
    assert len(await asker.score(QUESTION, ["", "so 3"], 0, Bill())) == 2
    with pytest.raises(InvalidRequest, match="empty"):
        await asker.score(QUESTION, ["so 3", " "], 0, Bill())


@pytest.mark.parametrize(
    "given",
    [
        None,
        [None] * 10,
        [{}] * 10,
        [None, {"x": {"logprob": -1.0}}],
        [{str(token): {"logprob": -9999.0} for token in range(20)}] * 10,
    ],
)
@pytest.mark.parametrize("source", ["mean_logprob", "self_certainty@2"])
async def test_what_the_engine_does_not_tell_is_an_error_and_no_score(
    fake: FakeVllm, scorer: Asker, given: Any, source: str
) -> None:
    """An older server leaves the field out; -9999 is vLLM's word for a probability of zero."""
    fake.replies["/v1/completions"] = lambda body: answer(body, given)
    with pytest.raises(EngineError, match="log-probabilities"):
        await scorer(fake, source).score(QUESTION, STEPS, 0, Bill())


async def test_a_score_that_is_given_up_is_aborted_by_name_and_billed(fake: FakeVllm, scorer: Asker) -> None:
    """What vLLM has read until then is paid for."""
    read = {"choices": [{"text": "x", "finish_reason": "abort", "prompt_logprobs": None}], **usage(10, 1, 0)}
    fake.replies["/v1/completions"] = lambda _: Held(read)
    bill = Bill()
    task = asyncio.create_task(scorer(fake).score(QUESTION, STEPS, 0, bill))
    await fake.reached("/v1/completions")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(fake.aborts) == 1
    assert bill == Bill(prompt=10, cached=0, generated=1, exact=True)


async def test_an_engine_that_aborts_a_score_is_one_that_goes(fake: FakeVllm, scorer: Asker) -> None:
    """It is no score, and worth a retry."""
    gone = {"choices": [{"text": "", "finish_reason": "abort", "prompt_logprobs": None}], **usage(10, 0, 0)}
    fake.replies["/v1/completions"] = lambda _: web.json_response(gone)
    with pytest.raises(EngineUnavailable):
        await scorer(fake).score(QUESTION, STEPS, 0, Bill())


@pytest.mark.parametrize("source", ["reward_model", "self_certainty@21", "entropy"])
async def test_only_sources_that_a_policy_has_are_taken(fake: FakeVllm, scorer: Asker, source: str) -> None:
    """vLLM gives twenty log-probabilities at most unless told otherwise."""
    with pytest.raises(ValueError, match=source):
        scorer(fake, source)


async def test_a_policy_whose_template_opens_its_thinking_is_refused(fake: FakeVllm, scorer: Asker) -> None:
    """The solution would be read as a thought."""
    with pytest.raises(ValueError, match="thinking"):
        scorer(fake, steps=StepForm(thinking="opened"))


@pytest.mark.stack
@pytest.mark.parametrize("source", ["mean_logprob", "self_certainty@20"])
async def test_certainty_is_what_the_weights_say(stack: Any, source: str) -> None:
    """The same arithmetic done by transformers and torch on the same folder, to 1e-4; nothing comes from a cache."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = Path(__file__).resolve().parents[3] / "models" / "tiny-policy"
    question = "Al has 12 pens. Bo has 5 more pens than Al. How many pens does Bo have?"
    steps = [
        "From Al: Bo has 5 more pens than Al so Bo has 12 - 5 = 7 pens.",
        "From Bo: so Bo has 17 pens. The answer is \\boxed{17}.",
    ]
    settings = PolicySettings(model="models/tiny-policy", served_name="tiny-policy", url=stack.policy_url)
    bill = Bill()
    async with Fleet(settings) as client:
        scorer = PolicyScorer(settings, client, source)
        scores = await scorer.score(question, steps, 0, Bill())
        assert await scorer.score(question, steps, 0, bill) == pytest.approx(scores, abs=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    expected = []
    for step in (steps[0] + "\n\n", steps[1]):
        begin = len(tokenizer(text, add_special_tokens=False).input_ids)
        text += step
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logprobs = model(ids).logits[0].log_softmax(-1)[begin - 1 : -1]
        if source == "mean_logprob":
            expected.append(exp(logprobs.gather(1, ids[0, begin:, None]).mean().item()))
        else:
            certainty = -(log(20) + logprobs.topk(20).values.mean().item())
            expected.append(certainty / (1 + certainty))
    assert scores == pytest.approx(expected, abs=1e-4)
    assert (bill.prompt, bill.cached) == (ids.shape[1], 0)
