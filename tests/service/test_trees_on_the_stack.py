"""Trees on real engines: what they reuse, what they waste, and that they can be told again."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from every_strategy import TREES

from service.search.replay import replay
from service.search.trace import Grown, Record, Told, from_json
from strategies.protocol import Ended, Scored, Step

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"
BLOCK = 32
LEAST_USED = {"beam_search, lookahead": 0.75}
"""Share of what is paid for that is scored or whole: a level that is certain stops its rollouts, which are long."""

pytestmark = pytest.mark.stack


def searched(stack: Any, name: str, **more: Any) -> tuple[dict[str, Any], list[Record]]:
    """Search with a new seed; return Mull's part of the answer, and the trace."""
    problem = json.loads(HELD_OUT.read_text().splitlines()[301])["problem"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": problem}],
        "seed": uuid.uuid4().int % 2**62,
        "mull": {"strategy": TREES[name], "include": ["trace", "candidates"], **more},
    }
    response = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["mull"]
    return answer, [from_json(record) for record in answer["trace"]]


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_tree_reuses_what_it_has_read_and_wastes_nothing(stack: Any, name: str) -> None:
    """At most each request's last block is read anew, and what is paid for is scored or whole.

    The latter over three searches: what is stopped on the way may be much of one small tree.
    """
    paid = used = 0
    for _ in range(3):
        answer, trace = searched(stack, name)
        grown = [record for record in trace if isinstance(record, Grown) and record.bill.generated]
        uncached = sum(record.bill.prompt - (record.bill.cached or 0) for record in grown)
        prompts = [record.bill.prompt for record in grown]
        floor = prompts[0] + sum((prompt - 1) % BLOCK + 1 for prompt in prompts[1:])
        assert len(grown) > 6
        assert uncached <= 1.10 * floor
        useful = {r.event.node for r in trace if isinstance(r, Told) and isinstance(r.event, Ended | Scored)}
        paid += sum(record.bill.generated for record in grown)
        used += sum(record.bill.generated for record in grown if record.node in useful)
        assert answer["answer"] is not None
        assert answer["stopped_by"] == "completed"
    assert used >= LEAST_USED.get(name, 0.9) * paid


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_tree_under_a_budget_gives_an_answer_and_replays(stack: Any, name: str) -> None:
    """Where the tokens do not suffice for all of the search, a solution is whole all the same."""
    answer, trace = searched(stack, name, budget={"policy_tokens": 250})
    usage = answer["usage"]["policy"]
    assert usage["kept"] + usage["discarded"] <= 250
    assert answer["answer"] is not None
    again = replay(trace)
    assert [c.text for c in again.candidates] == [c["text"] for c in answer["candidates"]]
    assert again.usage.model_dump()["policy"] == usage


def test_a_solution_of_single_steps_is_its_steps(stack: Any) -> None:
    """Nothing is lost or added where one request ends and the next one begins."""
    _, trace = searched(stack, "dvts")
    told = [record.event for record in trace if isinstance(record, Told)]
    steps: dict[tuple[int, ...], str] = {}
    for event in told:
        if isinstance(event, Step):
            steps[event.node] = steps.get(event.node, "") + event.text
    ended = [event for event in told if isinstance(event, Ended)]
    assert ended
    for event in ended:
        path = [event.node[:depth] for depth in range(1, len(event.node) + 1)]
        assert event.text == "".join(steps.get(node, "") for node in path)
