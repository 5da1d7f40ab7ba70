"""What Mull says a search has cost, against the engines' own counters."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"

pytestmark = pytest.mark.stack


def engine_tokens(url: str) -> tuple[int, int]:
    """Prompt and generated tokens that a vLLM server has counted since its start."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    prompt, generated = (
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}_total{{"))
        for name in ("prompt_tokens", "generation_tokens")
    )
    return int(prompt), int(generated)


@pytest.mark.parametrize("strategy", ["greedy", "majority_vote", "best_of_n"])
def test_usage_is_what_the_engines_counted(stack: Any, strategy: str) -> None:
    """Every token of a search that ran to its end: generated, read as prompt, submitted for scoring."""
    problem = json.loads(HELD_OUT.read_text().splitlines()[300])["problem"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": problem}],
        "seed": uuid.uuid4().int % 2**62,
        "mull": {"strategy": strategy},
    }
    policy_before, reward_before = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    usage = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60).json()["mull"]["usage"]
    policy_after, reward_after = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    policy, reward = usage["policy"], usage["reward"]
    assert policy["estimated"] is False
    assert policy_after[0] - policy_before[0] == policy["prompt"]
    assert policy_after[1] - policy_before[1] == policy["kept"] + policy["discarded"]
    assert reward_after[0] - reward_before[0] == reward["submitted"]
    assert reward_after[1] - reward_before[1] == reward["generated"]
