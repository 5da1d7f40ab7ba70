"""Streams as OpenAI's client sees them, on real engines. Every test asks its own question, so that no cache answers."""

import asyncio
import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.stack

HARD = json.loads((Path(__file__).parents[3] / "models" / "heldout.jsonl").read_text().splitlines()[398])["problem"]
EASY = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
LIMIT_S = 60.0


@pytest.fixture
def client(stack: Any) -> openai.OpenAI:
    """The official client."""
    return openai.OpenAI(base_url=f"{stack.gateway_url}/v1", api_key="none", timeout=LIMIT_S, max_retries=0)


def chat(question: str = EASY, **fields: Any) -> dict[str, Any]:
    """A word problem that nobody has asked before, as seeds differ."""
    seed = uuid.uuid4().int % 2**62
    return {"model": "tiny", "messages": [{"role": "user", "content": question}], "seed": seed, **fields}


def best_of(samples: int, **options: Any) -> dict[str, Any]:
    """The `mull` object of a search that lets every candidate come to its end."""
    return {"mull": {"strategy": {"name": "best_of_n", "samples": samples, "early_stop": "off"}, **options}}


def test_a_streamed_search_says_what_the_plain_one_says(client: openai.OpenAI) -> None:
    """Same text and same usage, with lines of progress before; another budget is another name in the cache."""
    body = chat(HARD)
    streamed = client.chat.completions.create(
        **body,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=best_of(8, budget={"policy_tokens": 10**6}),
    )
    chunks = list(streamed)
    plain = client.chat.completions.create(**body, extra_body=best_of(8))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    lines = [delta.model_extra["reasoning"] for delta in deltas if delta.model_extra]
    assert "".join(delta.content or "" for delta in deltas) == plain.choices[0].message.content
    assert all(line.startswith("8 candidates, ") for line in lines)
    assert lines
    usage = chunks[-1].usage
    assert usage is not None
    assert plain.usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (plain.usage.prompt_tokens, plain.usage.completion_tokens)


def test_one_sample_is_streamed_as_it_is_written(client: openai.OpenAI) -> None:
    """In several pieces, which together are the plain answer."""
    body = chat(HARD)
    stream = client.chat.completions.create(
        **body, stream=True, extra_body={"mull": {"budget": {"policy_tokens": 10**6}}}
    )
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
    plain = client.chat.completions.create(**body)
    assert "".join(pieces) == plain.choices[0].message.content
    assert len(pieces) >= 3


def test_events_add_up_to_the_result(client: openai.OpenAI) -> None:
    """Numbered without a gap; what was ended, scored and spent at last is what the result counts."""
    found: list[dict[str, Any]] = []
    mull: dict[str, Any] = {}
    for chunk in client.chat.completions.create(
        **chat(), stream=True, extra_body=best_of(4, progress="events", include=["candidates"])
    ):
        mull = (chunk.model_extra or {}).get("mull", {})
        if "event" in mull:
            found.append(mull["event"])
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert {"step", "scored", "ended", "vote", "best_so_far", "spent"} <= {event["type"] for event in found}
    last = {event["type"]: event for event in found}
    assert [event["type"] for event in found].count("ended") == len(mull["candidates"])
    assert last["best_so_far"]["answer"] == mull["answer"]
    assert last["vote"]["votes"] == mull["votes"]


def test_tree_searches_tell_their_progress(client: openai.OpenAI) -> None:
    """Steps are counted where there are no candidates yet."""
    deltas = [
        chunk.choices[0].delta
        for chunk in client.chat.completions.create(
            **chat(HARD), stream=True, extra_body={"mull": {"strategy": "beam_search"}}
        )
    ]
    assert any(" steps, " in (delta.model_extra or {}).get("reasoning", "") for delta in deltas)
    assert "".join(delta.content or "" for delta in deltas)


def test_deadline_streams_the_best_so_far(client: openai.OpenAI) -> None:
    """The stream ends as it should, and says what stopped it."""
    chunks = list(
        client.chat.completions.create(**chat(HARD), stream=True, extra_body=best_of(256, budget={"deadline_ms": 4000}))
    )
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["mull"]["stopped_by"] in ("deadline", "completed")
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_question_over_the_context_has_a_status(client: openai.OpenAI) -> None:
    """What the engine refuses at once is no stream."""
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**chat("Bo has 12 pens. " * 500), stream=True, extra_body=best_of(4))


async def test_streams_that_are_left_leave_nothing_running(stack: Any) -> None:
    """Sixteen clients go away at random moments; soon neither the policy nor the gateway has anything to do."""
    moments = random.Random(1)

    async def leave(http: httpx.AsyncClient, progress: str) -> None:
        body = chat(HARD, stream=True, **best_of(16, progress=progress))
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(moments.uniform(0.05, 2)),
                http.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                async for _ in response.aiter_bytes():
                    pass
                await asyncio.Event().wait()

    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=LIMIT_S) as http:
        await asyncio.gather(*(leave(http, ("none", "reasoning", "events")[i % 3]) for i in range(16)))
        due = time.monotonic() + 5
        while (left := await _at_work(http, stack.policy_url)) != (0, 0) and time.monotonic() < due:  # noqa: ASYNC110  # they give no sign
            await asyncio.sleep(0.1)
    assert left == (0, 0)


async def _at_work(http: httpx.AsyncClient, policy_url: str) -> tuple[float, float]:
    """Return how many requests the policy has running or waiting, and how many searches the gateway waits for."""
    return (
        await _sum(http, f"{policy_url}/metrics", "vllm:num_requests_running{", "vllm:num_requests_waiting{"),
        await _sum(http, "/metrics", "mull_searches_in_flight{"),
    )


async def _sum(http: httpx.AsyncClient, url: str, *names: str) -> float:
    lines = (await http.get(url)).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))
