"""What one search has had scored is not scored for the next one."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.redis_link import RedisLink
from service.revision import reward_revision
from service.score_store import RedisScores
from service.search.memo import score_key
from service.search.past import past_of
from service.search.scoring import Prefix
from service.search.trace import Begun, from_json
from service.settings import RedisSettings
from service.settings_file import load_settings

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
NOBODY_ELSES = 377
"""A problem that no other test asks on the stack."""

pytestmark = pytest.mark.stack


def searched(stack: Any, question: str, *, samples: int, seed: int) -> tuple[dict[str, Any], dict[Prefix, float]]:
    """Search; return the usage of the reward model, and all scores that the search was told."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": question}],
        "seed": seed,
        "mull": {"strategy": {"name": "best_of_n", "samples": samples, "early_stop": "off"}, "include": ["trace"]},
    }
    response = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    found = response.json()["mull"]
    trace = [from_json(record) for record in found["trace"]]
    begun = trace[0]
    assert isinstance(begun, Begun)
    return found["usage"]["reward"], past_of(trace, begun.request).scores


async def test_a_second_search_of_a_question_is_told_what_the_first_one_paid_for(stack: Any) -> None:
    """Another seed, other solutions, the same beginnings: the same scores, and none of them is paid for again."""
    question = json.loads(HELD_OUT.read_text().splitlines()[NOBODY_ELSES])["problem"]
    paid, first = searched(stack, question, samples=16, seed=1)
    spared, second = searched(stack, question, samples=12, seed=2)
    shared = first.keys() & second.keys()
    assert (paid["remembered"], paid["generated"]) == (0, len(first))
    assert (spared["remembered"], spared["generated"]) == (len(shared), len(second) - len(shared))
    assert shared
    assert {steps: second[steps] for steps in shared} == {steps: first[steps] for steps in shared}

    reward = load_settings(None, stack.environment).reward_models["tiny-prm"]
    link = RedisLink(RedisSettings.model_validate({"url": stack.redis_url, "timeout_ms": 5000}))
    kept = await RedisScores(link, reward_revision(reward), 60).get([score_key(question, steps) for steps in first])
    await link.aclose()
    assert list(kept.values()) == list(first.values())
