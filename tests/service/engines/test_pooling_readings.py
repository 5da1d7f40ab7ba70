"""Reward models with a head of their own: what is asked of `/pooling`, and which answers are no score."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from math import nan
from typing import Any

import pytest
from aiohttp import web
from fake_vllm import FakeVllm, Held, Json

from service.engines.fleet import Fleet
from service.engines.reward import VllmScorer
from service.errors import EngineError, EngineUnavailable, QuestionTooLong
from service.search.ports import Bill
from service.settings import RewardSettings

QUESTION = "how many ?"
STEPS = ["one is 1", "two is 2", "so 3"]
TAG = "<extra_0>"
Asker = Callable[..., VllmScorer]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="judge").running())


@pytest.fixture
def scorer(fake: FakeVllm, at_end: AsyncExitStack) -> Asker:
    def make(family: Any) -> VllmScorer:
        settings = RewardSettings.model_validate({"model": "judge", "url": fake.url, "family": family})
        asker = VllmScorer(settings, Fleet(settings))
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


def answers(fake: FakeVllm, data: Any) -> None:
    """Answer every prompt with `data`, or with what `data` makes of its ids, and count its tokens."""

    def pool(body: Json) -> web.Response:
        (prompt,) = body["input"]
        shown = data(prompt) if callable(data) else data
        usage = {"prompt_tokens": len(prompt), "total_tokens": len(prompt), "completion_tokens": 0}
        # As vLLM may: NaN is no JSON, and Python's writes it all the same.
        return web.Response(text=json.dumps({"data": [{"index": 0, "data": shown}], "usage": usage}))

    fake.replies["/pooling"] = pool


def at_each_tag(fake: FakeVllm) -> Callable[[Sequence[int]], list[list[float]]]:
    """Return what a process reward model says: at the nth tag of the prompt, n hundredths."""

    def rows(prompt: Sequence[int]) -> list[list[float]]:
        count = sum(fake.words[token] == TAG for token in prompt)
        return [[1 - n / 100, n / 100] for n in range(1, count + 1)]

    return rows


def values(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


async def test_one_request_brings_the_scores_of_all_steps(fake: FakeVllm, scorer: Asker) -> None:
    """Those of the steps that were asked for; and nothing of it is ever cached."""
    answers(fake, at_each_tag(fake))
    bill = Bill()
    assert await scorer("qwen_prm").score(QUESTION, STEPS, 1, bill) == pytest.approx((0.02, 0.03))
    (body,) = fake.bodies("/pooling")
    assert (body["task"], body["use_activation"]) == ("token_classify", True)
    assert bill == Bill(prompt=len(body["input"][0]), cached=0, generated=0, exact=True)


async def test_tags_within_the_text_are_not_read(fake: FakeVllm, scorer: Asker) -> None:
    """VLLM answers for each of them; ours are the third and the sixth."""
    answers(fake, at_each_tag(fake))
    steps = [f"a {TAG} b {TAG} c", f"{TAG} {TAG}"]
    assert await scorer("qwen_prm").score(QUESTION, steps, 0, Bill()) == pytest.approx((0.03, 0.06))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[0.9, 0.1]] * 2,
        [[0.9, 0.1]] * 4,
        [[0.9, 0.1], [0.9, 0.1], []],
        [[0.9, 0.1], [0.9, 0.1], None],
        [[0.9, nan]] * 3,
        [[0.9, None]] * 3,
        [["0.9", "0.1"]] * 3,
        [[0.9]] * 3,
        [[-0.5, 1.5]] * 3,
        [0.1, 0.2, 0.3],
        "AAAA",
        None,
    ],
)
async def test_rows_that_are_not_two_probabilities_for_each_tag_are_an_error(
    fake: FakeVllm, scorer: Asker, rows: Any
) -> None:
    """Whatever is missing, it is no 0.0; what was read is paid for all the same."""
    answers(fake, rows)
    bill = Bill()
    with pytest.raises(EngineError):
        await scorer("qwen_prm").score(QUESTION, STEPS, 0, bill)
    assert bill.exact


async def test_an_engine_that_looks_for_another_tag_is_told_how(fake: FakeVllm, scorer: Asker) -> None:
    """It has no rows for ours."""
    answers(fake, [])
    with pytest.raises(EngineError, match="3 step tags") as failed:
        await scorer("qwen_prm").score(QUESTION, STEPS, 0, Bill())
    assert "step_tag_id" in failed.value.hint


async def test_a_classifier_of_one_class_is_its_probability(fake: FakeVllm, scorer: Asker) -> None:
    """The engine may have had some of it in its cache, and does not tell."""
    answers(fake, [0.25])
    bill = Bill()
    assert await scorer("classifier").score(QUESTION, ["one is 1"], 0, bill) == (0.25,)
    (body,) = fake.bodies("/pooling")
    assert (body["task"], body["use_activation"]) == ("classify", True)
    assert bill == Bill(prompt=len(body["input"][0]), cached=None, generated=0, exact=True)


async def test_a_classifier_of_several_classes_is_the_good_ones_probability(fake: FakeVllm, scorer: Asker) -> None:
    """The family says which one it is."""
    answers(fake, [0.2, 0.7, 0.1])
    asker = scorer({"name": "classifier", "good_class": 1})
    assert await asker.score(QUESTION, ["one is 1"], 0, Bill()) == (0.7,)


@pytest.mark.parametrize("row", [[], [nan], [None], ["x"], [True], [[0.5]], 0.5, None, [1.5]])
async def test_a_class_without_a_probability_is_an_error(fake: FakeVllm, scorer: Asker, row: Any) -> None:
    """It is not 0.0."""
    answers(fake, row)
    with pytest.raises(EngineError):
        await scorer("classifier").score(QUESTION, ["one is 1"], 0, Bill())


async def test_a_value_is_that_of_the_last_token(fake: FakeVllm, scorer: Asker) -> None:
    """Its sigmoid is the score: 0 is one half."""
    answers(fake, lambda prompt: values(*[8.0] * (len(prompt) - 1), 0.0))
    bill = Bill()
    assert await scorer("qwen_rm").score(QUESTION, ["one is 1"], 0, bill) == (0.5,)
    (body,) = fake.bodies("/pooling")
    assert (body["task"], body["use_activation"], body["encoding_format"]) == ("token_classify", False, "base64")
    assert bill == Bill(prompt=len(body["input"][0]), cached=0, generated=0, exact=True)


@pytest.mark.parametrize(
    "data",
    [
        "",
        values(0.5),
        lambda prompt: values(*[0.5] * (len(prompt) + 1)),
        lambda prompt: values(*[0.5] * (len(prompt) - 1), nan),
        lambda prompt: "#" * 4 * len(prompt),
        lambda prompt: [[0.5]] * len(prompt),
        None,
    ],
)
async def test_values_that_are_not_one_for_each_token_are_an_error(fake: FakeVllm, scorer: Asker, data: Any) -> None:
    """The last of fewer, or of more, would be another token's."""
    answers(fake, data)
    with pytest.raises(EngineError, match="one number for each token"):
        await scorer("qwen_rm").score(QUESTION, ["one is 1"], 0, Bill())


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (400, "no such task", EngineError),
        (400, "longer than the maximum", QuestionTooLong),
        (503, "takes no requests", EngineUnavailable),
    ],
)
async def test_what_the_engine_refuses_is_its_own_error(
    fake: FakeVllm, scorer: Asker, status: int, said: str, error: type[Exception]
) -> None:
    """Its words are in it; and what it has cost is not known."""
    fake.replies["/pooling"] = lambda _: web.json_response({"error": {"message": said}}, status=status)
    bill = Bill()
    with pytest.raises(error, match=said):
        await scorer("qwen_prm").score(QUESTION, STEPS, 0, bill)
    assert bill == Bill(exact=False)


async def test_an_engine_that_does_not_count_leaves_the_bill_open(fake: FakeVllm, scorer: Asker) -> None:
    """The scores are good all the same."""
    fake.replies["/pooling"] = lambda _: web.json_response({"data": [{"data": [0.5]}]})
    bill = Bill()
    assert await scorer("classifier").score(QUESTION, ["one is 1"], 0, bill) == (0.5,)
    assert not bill.exact


async def test_a_score_that_is_given_up_closes_its_connection(fake: FakeVllm, scorer: Asker) -> None:
    """VLLM ends the request then, and tells nothing of it: there is no abort by name for a pooling model."""
    held = Held({})
    fake.replies["/pooling"] = lambda _: held
    bill = Bill()
    task = asyncio.create_task(scorer("qwen_prm").score(QUESTION, STEPS, 0, bill))
    await fake.reached("/pooling")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(held.left.wait(), 10)
    assert (bill, fake.aborts) == (Bill(exact=False), [])
