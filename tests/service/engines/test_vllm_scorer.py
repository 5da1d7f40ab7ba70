from collections.abc import Mapping
from math import log
from typing import Any

import httpx
import pytest
from fake_vllm import FakeVllm, Json, usage

from service.engines.http import engine_client
from service.engines.reward import VllmScorer
from service.errors import EngineError, EngineUnavailable, QuestionTooLong
from service.settings import RewardSettings

QUESTION = "how many ?"
STEPS = ["one is 1\n\n", "two is 2\n\n", "so 3"]


@pytest.fixture
def fake() -> FakeVllm:
    return judge()


def judge(context: int = 512) -> FakeVllm:
    """A reward model that finds a step the better the longer the prompt: P(good) is a hundredth per token."""
    fake = FakeVllm(name="judge", context=context)

    def complete(body: Json) -> httpx.Response:
        good, bad = body["logprob_token_ids"]
        share = len(body["prompt"]) / 100
        return answer(body, {f"token_id:{good}": log(share / 2), f"token_id:{bad}": log((1 - share) / 2)})

    fake.replies["/v1/completions"] = complete
    return fake


def answer(body: Json, top: Mapping[str, Any], cached: int | None = 2) -> httpx.Response:
    logprobs = {"top_logprobs": [dict(top)]}
    counts = usage(len(body["prompt"]), 1, cached)
    return httpx.Response(200, json={"choices": [{"text": "x", "logprobs": logprobs}], **counts})


def scorer(fake: FakeVllm, **more: object) -> VllmScorer:
    settings = RewardSettings.model_validate({"model": "judge", "url": "http://engine", **more})
    return VllmScorer(settings, engine_client(settings, fake.transport()))


async def test_each_step_is_scored_given_those_before_it(fake: FakeVllm) -> None:
    """Question of 4 tokens, steps of 3, 3 and 2 tokens, a separator of 1 after each."""
    scores = await scorer(fake).score(QUESTION, STEPS, 0)
    assert scores.values == pytest.approx((0.08, 0.12, 0.15))
    assert (scores.submitted, scores.cached, scores.generated) == (8 + 12 + 15, 6, 3)


async def test_only_what_is_asked_for_is_scored(fake: FakeVllm) -> None:
    """Steps before `first` are context."""
    scores = await scorer(fake).score(QUESTION, STEPS, 2)
    assert scores.values == pytest.approx((0.15,))
    assert len(fake.bodies("/v1/completions")) == 1


async def test_the_price_is_what_a_score_submits(fake: FakeVllm) -> None:
    """It is known before anything is submitted."""
    asker = scorer(fake)
    price = await asker.price(QUESTION, STEPS, 1)
    assert fake.bodies("/v1/completions") == []
    assert price == (await asker.score(QUESTION, STEPS, 1)).submitted


async def test_the_prompt_is_the_chat_with_steps_and_separators(fake: FakeVllm) -> None:
    """The last step, which the policy ends without a separator, gets one too."""
    await scorer(fake).score(QUESTION, STEPS, 2)
    assert fake.bodies("/v1/completions")[0]["prompt"] == fake.ids(
        "[user] how many ? one is 1 \n\n two is 2 \n\n so 3 \n\n"
    )


async def test_texts_are_tokenised_once(fake: FakeVllm) -> None:
    """Question, steps, labels and separator: one request each, however often they come up."""
    asker = scorer(fake)
    for first in (0, 1, 2):
        await asker.score(QUESTION, STEPS, first)
    assert len(fake.bodies("/tokenize")) == 1 + len(STEPS) + 3


async def test_an_engine_that_does_not_count_cached_tokens_is_not_said_to_have_none(fake: FakeVllm) -> None:
    """Unknown is `None`, not 0."""
    fake.replies["/v1/completions"] = lambda body: answer(
        body, {f"token_id:{label}": -1.0 for label in body["logprob_token_ids"]}, cached=None
    )
    assert (await scorer(fake).score(QUESTION, STEPS, 0)).cached is None


@pytest.mark.parametrize("given", [{}, {"good": -1.0}, {"good": -1.0, "bad": None}, {"good": "x", "bad": -1.0}])
async def test_a_missing_label_is_an_error_and_no_score(fake: FakeVllm, given: dict[str, object]) -> None:
    """An older server ignores `logprob_token_ids`, and answers with other tokens."""

    def complete(body: Json) -> httpx.Response:
        good, bad = body["logprob_token_ids"]
        ids = {"good": good, "bad": bad}
        return answer(body, {f"token_id:{ids[name]}": value for name, value in given.items()})

    fake.replies["/v1/completions"] = complete
    with pytest.raises(EngineError, match="log-probabilities"):
        await scorer(fake).score(QUESTION, STEPS, 0)


@pytest.mark.parametrize("body", ["{}", '{"choices": []}', '{"choices": [{"logprobs": null}]}', "NaN", "oops"])
async def test_an_answer_of_another_form_is_an_error_and_no_score(fake: FakeVllm, body: str) -> None:
    """Whatever it is, it is not 0.0."""
    fake.replies["/v1/completions"] = lambda _: httpx.Response(200, text=body)
    with pytest.raises(EngineError):
        await scorer(fake).score(QUESTION, STEPS, 0)


async def test_a_failure_among_several_steps_is_raised_as_itself(fake: FakeVllm) -> None:
    """Callers catch `EngineError`, not groups of them."""
    fake.replies["/v1/completions"] = lambda _: httpx.Response(503)
    with pytest.raises(EngineUnavailable):
        await scorer(fake).score(QUESTION, STEPS, 0)


async def test_steps_that_do_not_fit_are_refused_before_the_engine_is_asked() -> None:
    """15 prompt tokens and the one that is read need a context of 16."""
    assert await scorer(judge(context=16)).score(QUESTION, STEPS, 2)
    small = judge(context=15)
    with pytest.raises(QuestionTooLong, match="15 in all"):
        await scorer(small).score(QUESTION, STEPS, 2)
    assert small.bodies("/v1/completions") == []


async def test_a_label_of_two_tokens_is_refused(fake: FakeVllm) -> None:
    """Its probability cannot be read at one place."""
    with pytest.raises(EngineError, match="2 tokens"):
        await scorer(fake, good_token="very good").open()


async def test_a_label_that_the_vocabulary_lacks_is_refused(fake: FakeVllm) -> None:
    """A word-level tokenizer turns it into its token for unknown words."""
    fake.replies["/detokenize"] = lambda _: httpx.Response(200, json={"prompt": "<unk>"})
    with pytest.raises(EngineError, match="not in its vocabulary"):
        await scorer(fake).open()


async def test_ready_means_that_a_step_was_scored(fake: FakeVllm) -> None:
    """One real score, and the engine's error where there is none."""
    await scorer(fake).ready()
    assert len(fake.bodies("/v1/completions")) == 1
    fake.replies["/v1/completions"] = lambda _: httpx.Response(500, json={"error": {"message": "EngineCore"}})
    with pytest.raises(EngineError, match="EngineCore"):
        await scorer(fake).ready()
