import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from math import log
from typing import Any

import pytest
from aiohttp import web
from fake_vllm import FakeVllm, Held, Json, usage

from service.engines.fleet import Fleet
from service.engines.reward import VllmScorer
from service.errors import EngineError, EngineUnavailable, QuestionTooLong
from service.search.ports import Bill
from service.settings import RewardSettings

QUESTION = "how many ?"
Asker = Callable[..., VllmScorer]
STEPS = ["one is 1\n\n", "two is 2\n\n", "so 3"]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(judge().running())


@pytest.fixture
def scorer(at_end: AsyncExitStack) -> Asker:
    def make(fake: FakeVllm, **more: object) -> VllmScorer:
        settings = RewardSettings.model_validate({"model": "judge", "url": fake.url, **more})
        asker = VllmScorer(settings, Fleet(settings))
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


def judge(context: int = 512) -> FakeVllm:
    """A reward model that finds a step the better the longer the prompt: P(good) is a hundredth per token."""
    fake = FakeVllm(name="judge", context=context)

    def complete(body: Json) -> web.Response:
        good, bad = body["logprob_token_ids"]
        share = len(body["prompt"]) / 100
        return answer(body, {f"token_id:{good}": log(share / 2), f"token_id:{bad}": log((1 - share) / 2)})

    fake.replies["/v1/completions"] = complete
    return fake


def answer(body: Json, top: Mapping[str, Any], cached: int | None = 2) -> web.Response:
    logprobs = {"top_logprobs": [dict(top)]}
    counts = usage(len(body["prompt"]), 1, cached)
    return web.json_response({"choices": [{"text": "x", "logprobs": logprobs, "finish_reason": "length"}], **counts})


async def test_each_step_is_scored_given_those_before_it(fake: FakeVllm, scorer: Asker) -> None:
    """Question of 4 tokens, steps of 3, 3 and 2 tokens, a separator of 1 after each."""
    bill = Bill()
    assert await scorer(fake).score(QUESTION, STEPS, 0, bill) == pytest.approx((0.08, 0.12, 0.15))
    assert bill == Bill(prompt=8 + 12 + 15, cached=6, generated=3, exact=True)


async def test_only_what_is_asked_for_is_scored(fake: FakeVllm, scorer: Asker) -> None:
    """Steps before `first` are context."""
    assert await scorer(fake).score(QUESTION, STEPS, 2, Bill()) == pytest.approx((0.15,))
    assert len(fake.bodies("/v1/completions")) == 1


async def test_the_price_is_what_a_score_submits(fake: FakeVllm, scorer: Asker) -> None:
    """It is known before anything is submitted."""
    asker = scorer(fake)
    price = await asker.price(QUESTION, STEPS, 1)
    assert fake.bodies("/v1/completions") == []
    bill = Bill()
    await asker.score(QUESTION, STEPS, 1, bill)
    assert price == bill.prompt


async def test_the_prompt_is_the_chat_with_steps_and_separators(fake: FakeVllm, scorer: Asker) -> None:
    """The last step, which the policy ends without a separator, gets one too."""
    await scorer(fake).score(QUESTION, STEPS, 2, Bill())
    assert fake.bodies("/v1/completions")[0]["prompt"] == fake.ids(
        "[user] how many ? one is 1 \n\n two is 2 \n\n so 3 \n\n"
    )


async def test_texts_are_tokenised_once(fake: FakeVllm, scorer: Asker) -> None:
    """Question, steps, labels and separator: one request each, however often they come up."""
    asker = scorer(fake)
    for first in (0, 1, 2):
        await asker.score(QUESTION, STEPS, first, Bill())
    assert len(fake.bodies("/tokenize")) == 1 + len(STEPS) + 3


async def test_an_engine_that_does_not_count_cached_tokens_is_not_said_to_have_none(
    fake: FakeVllm, scorer: Asker
) -> None:
    """Unknown is `None`, not 0."""
    fake.replies["/v1/completions"] = lambda body: answer(
        body, {f"token_id:{label}": -1.0 for label in body["logprob_token_ids"]}, cached=None
    )
    bill = Bill()
    await scorer(fake).score(QUESTION, STEPS, 0, bill)
    assert (bill.cached, bill.exact) == (None, True)


@pytest.mark.parametrize("given", [{}, {"good": -1.0}, {"good": -1.0, "bad": None}, {"good": "x", "bad": -1.0}])
async def test_a_missing_label_is_an_error_and_no_score(
    fake: FakeVllm, given: dict[str, object], scorer: Asker
) -> None:
    """An older server ignores `logprob_token_ids`, and answers with other tokens."""

    def complete(body: Json) -> web.Response:
        good, bad = body["logprob_token_ids"]
        ids = {"good": good, "bad": bad}
        return answer(body, {f"token_id:{ids[name]}": value for name, value in given.items()})

    fake.replies["/v1/completions"] = complete
    with pytest.raises(EngineError, match="log-probabilities"):
        await scorer(fake).score(QUESTION, STEPS, 0, Bill())


@pytest.mark.parametrize("body", ["{}", '{"choices": []}', '{"choices": [{"logprobs": null}]}', "NaN", "oops"])
async def test_an_answer_of_another_form_is_an_error_and_no_score(fake: FakeVllm, body: str, scorer: Asker) -> None:
    """Whatever it is, it is not 0.0."""
    fake.replies["/v1/completions"] = lambda _: web.Response(text=body)
    with pytest.raises(EngineError):
        await scorer(fake).score(QUESTION, STEPS, 0, Bill())


async def test_a_failure_among_several_steps_is_raised_as_itself(fake: FakeVllm, scorer: Asker) -> None:
    """Callers catch `EngineError`, not groups of them."""
    fake.replies["/v1/completions"] = lambda _: web.Response(status=503)
    with pytest.raises(EngineUnavailable):
        await scorer(fake).score(QUESTION, STEPS, 0, Bill())


async def test_steps_that_do_not_fit_are_refused_before_the_engine_is_asked(
    scorer: Asker, at_end: AsyncExitStack
) -> None:
    """15 prompt tokens and the one that is read need a context of 16."""
    enough = await at_end.enter_async_context(judge(context=16).running())
    assert await scorer(enough).score(QUESTION, STEPS, 2, Bill())
    small = await at_end.enter_async_context(judge(context=15).running())
    with pytest.raises(QuestionTooLong, match="15 in all"):
        await scorer(small).score(QUESTION, STEPS, 2, Bill())
    assert small.bodies("/v1/completions") == []


async def test_a_label_of_two_tokens_is_refused(fake: FakeVllm, scorer: Asker) -> None:
    """Its probability cannot be read at one place."""
    with pytest.raises(EngineError, match="2 tokens"):
        await scorer(fake, family={"name": "label_token", "good_token": "very good"}).open()


async def test_a_label_that_the_vocabulary_lacks_is_refused(fake: FakeVllm, scorer: Asker) -> None:
    """A word-level tokenizer turns it into its token for unknown words."""
    fake.replies["/detokenize"] = lambda _: web.json_response({"prompt": "<unk>"})
    with pytest.raises(EngineError, match="not in its vocabulary"):
        await scorer(fake).open()


async def test_ready_means_that_a_step_was_scored(fake: FakeVllm, scorer: Asker) -> None:
    """One real score, and the engine's error where there is none."""
    await scorer(fake).ready()
    assert len(fake.bodies("/v1/completions")) == 1
    fake.replies["/v1/completions"] = lambda _: web.json_response({"error": {"message": "EngineCore"}}, status=500)
    with pytest.raises(EngineError, match="EngineCore"):
        await scorer(fake).ready()


async def test_two_who_ask_for_the_same_text_at_once_ask_together(fake: FakeVllm, scorer: Asker) -> None:
    """Also while the answer is on its way, and also where the first one goes before it comes."""
    asker = scorer(fake)
    await asker.open()
    before = len(fake.bodies("/tokenize"))
    first, *others = [asyncio.create_task(asker.price(QUESTION, STEPS[:1], 0)) for _ in range(4)]
    await asyncio.sleep(0)
    first.cancel()
    assert len(set(await asyncio.gather(*others))) == 1
    assert len(fake.bodies("/tokenize")) == before + 3


async def test_a_cold_reward_model_is_opened_once(fake: FakeVllm, scorer: Asker) -> None:
    """Many first steps come at once."""
    asker = scorer(fake)
    await asyncio.gather(*(asker.score(QUESTION, STEPS[:1], 0, Bill()) for _ in range(4)))
    assert len(fake.bodies("/v1/models")) == 1
    assert len(fake.bodies("/detokenize")) == 2


def unread(prompt: int) -> Held:
    """What vLLM answers to a request that was aborted before its first token."""
    empty = {"token_logprobs": [], "top_logprobs": []}
    return Held({"choices": [{"text": "", "finish_reason": "abort", "logprobs": empty}], **usage(prompt, 0, 0)})


async def scoring(asker: VllmScorer, fake: FakeVllm, bill: Bill, requests: int) -> asyncio.Task[tuple[float, ...]]:
    """Start a score, and return once its requests have reached the engine."""
    task = asyncio.create_task(asker.score(QUESTION, STEPS, len(STEPS) - requests, bill))
    await fake.reached("/v1/completions", requests)
    return task


async def test_a_score_that_is_given_up_is_aborted_by_name_and_billed(fake: FakeVllm, scorer: Asker) -> None:
    """One abort for all its requests; vLLM's counters know nothing of a prompt without a token."""
    fake.replies["/v1/completions"] = lambda body: unread(len(body["prompt"]))
    bill = Bill()
    task = await scoring(scorer(fake), fake, bill, requests=3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [len(names) for names in fake.aborts] == [3]
    assert bill == Bill(prompt=0, cached=0, generated=0, exact=True)


async def test_a_score_that_was_read_before_its_abort_is_paid_for(fake: FakeVllm, scorer: Asker) -> None:
    """The engine's answer says so."""
    read = {"choices": [{"text": "x", "finish_reason": "length", "logprobs": None}], **usage(15, 1, 4)}
    fake.replies["/v1/completions"] = lambda _: Held(read)
    bill = Bill()
    task = await scoring(scorer(fake), fake, bill, requests=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bill == Bill(prompt=15, cached=4, generated=1, exact=True)


async def test_an_engine_that_cannot_abort_a_score_sees_the_connection_closed(fake: FakeVllm, scorer: Asker) -> None:
    """The bill is not exact then."""
    held = unread(15)
    fake.replies["/v1/completions"] = lambda _: held
    fake.abort_status = 404
    bill = Bill()
    task = await scoring(scorer(fake), fake, bill, requests=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(held.left.wait(), 10)
    assert bill == Bill(exact=False)


async def test_a_step_that_fails_ends_the_others_and_leaves_the_bill_open(fake: FakeVllm, scorer: Asker) -> None:
    """What the others have cost is known; what the failed one has cost is not."""

    def complete(body: Json) -> web.Response | Held:
        length = len(body["prompt"])
        return web.Response(status=500) if length == 8 else unread(length)

    fake.replies["/v1/completions"] = complete
    bill = Bill()
    with pytest.raises(EngineError, match="500"):
        await scorer(fake).score(QUESTION, STEPS, 0, bill)
    assert len({name for names in fake.aborts for name in names}) == 2
    assert not bill.exact


async def test_a_score_that_the_engine_aborts_is_an_engine_that_goes(fake: FakeVllm, scorer: Asker) -> None:
    """It is no score, and worth a retry."""
    aborted = {"choices": [{"text": "", "finish_reason": "abort", "logprobs": None}], **usage(15, 0, 0)}
    fake.replies["/v1/completions"] = lambda _: web.json_response(aborted)
    with pytest.raises(EngineUnavailable, match="aborted"):
        await scorer(fake).score(QUESTION, STEPS, 2, Bill())


async def test_the_words_of_steps_can_be_kept_from_it(fake: FakeVllm, scorer: Asker) -> None:
    """The question keeps its own: it is where the steps start from."""
    await scorer(fake, math_only=True).score("how many ?", ["Bo has 12 + 5 = 17 pens", "so he counts"], 1, Bill())
    prompt = fake.bodies("/v1/completions")[0]["prompt"]
    assert prompt == fake.ids("[user] how many ? 12 + 5 = 17 \n\n \n\n")
