"""A question that is asked again goes on from the samples that it has."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
pytestmark = pytest.mark.stack


def written(url: str) -> int:
    """Tokens that a vLLM server has generated since its start, by its own count."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    counts = (line.rpartition(" ")[2] for line in lines if line.startswith("vllm:generation_tokens_total{"))
    return int(sum(map(float, counts)))


def vote(stack: Any, problem: int, samples: int, early_stop: str) -> tuple[dict[str, Any], int]:
    """Ask for a vote; return the `mull` object of the answer, and how many tokens the policy generated for it."""
    question = json.loads(HELD_OUT.read_text().splitlines()[problem])["problem"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": question}],
        "seed": 7,
        "mull": {"strategy": {"name": "majority_vote", "samples": samples, "early_stop": early_stop}},
    }
    before = written(stack.policy_url)
    response = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["mull"], written(stack.policy_url) - before


@pytest.mark.parametrize(("early_stop", "problem"), [("off", 391), ("exact", 392)])
def test_four_then_sixteen_then_sixty_four_samples_cost_one_sixty_four(
    stack: Any, early_stop: str, problem: int
) -> None:
    """What is there already is not generated again, and counts as what it once cost.

    No other test asks these problems on the stack.
    """
    spent = sum(vote(stack, problem, samples, early_stop)[1] for samples in (4, 16, 64))
    whole, rest = vote(stack, problem, 64, "off")
    cost = whole["usage"]["policy"]["kept"] + whole["usage"]["policy"]["discarded"]
    assert 0 < spent <= 1.02 * cost
    assert spent + rest <= 1.02 * cost
    assert sum(vote["candidates"] for vote in whole["votes"]) <= 64
