"""Jobs on real engines, as the official client sees them."""

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

pytestmark = pytest.mark.stack

HELD_OUT = Path(__file__).parents[3] / "models" / "heldout.jsonl"
LIMIT_S = 60.0


@pytest.fixture
def client(stack: Any) -> Iterator[OpenAI]:
    """A client of the running gateway."""
    with OpenAI(base_url=f"{stack.gateway_url}/v1", api_key="none", timeout=LIMIT_S) as made:
        yield made


def begin(client: OpenAI, samples: int, **fields: Any) -> Any:
    """Make a job that no cache answers."""
    question = json.loads(HELD_OUT.read_text().splitlines()[398])["problem"]
    strategy = {"name": "best_of_n", "samples": samples, "early_stop": "off"}
    extra = {"seed": uuid.uuid4().int % 2**62, "mull": {"strategy": strategy, "include": ["trace"]}}
    return client.responses.create(model="tiny", input=question, background=True, extra_body=extra, **fields)


def test_a_job_is_polled_and_its_events_are_read_from_the_middle(client: OpenAI) -> None:
    """A real search in the background: its answer, its bill, and the events after any of them."""
    made = begin(client, 16, reasoning={"summary": "auto"})
    assert made.status == "queued"
    until = time.monotonic() + LIMIT_S
    while (done := client.responses.retrieve(made.id)).status in ("queued", "in_progress"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert done.status in ("completed", "incomplete")
    assert done.output_text
    assert done.usage is not None
    assert 0 < done.usage.output_tokens_details.reasoning_tokens < done.usage.output_tokens
    events = list(client.responses.retrieve(made.id, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "response.reasoning_summary_text.delta" in {event.type for event in events}
    assert list(client.responses.retrieve(made.id, stream=True, starting_after=4)) == events[5:]
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == done.output_text
    told: Any = done.model_dump()["mull"]
    kept = httpx.get(f"{client.base_url}traces/{told['trace_id']}", timeout=LIMIT_S).json()
    assert kept["records"] == told["trace"]


def test_a_cancelled_job_leaves_the_engine_idle(stack: Any, client: OpenAI) -> None:
    """A long search is stopped in the middle, and soon the policy works on nothing for it."""
    made = begin(client, 256)
    until = time.monotonic() + LIMIT_S
    while not _running(stack.policy_url):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert client.responses.cancel(made.id).status == "cancelled"
    until = time.monotonic() + 5
    while (running := _running(stack.policy_url)) and time.monotonic() < until:
        time.sleep(0.1)
    assert running == 0
    assert client.responses.retrieve(made.id).status == "cancelled"


def _running(url: str) -> float:
    """Return how many requests a vLLM server has running or waiting."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))
