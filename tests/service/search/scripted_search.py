"""Searches over scripted engines, as `search` runs them."""

from typing import Any

from service.search.driver import Engines
from service.search.past import NOTHING, Past
from service.search.pooling import CandidatePool
from service.search.request import SearchRequest, SearchResult
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.search import search
from service.search.slots import Slots
from service.search.trace import Record, from_json, from_lines, to_lines
from service.search.watch import Watch
from service.settings import PolicySettings

RIGHT = "one plus one\n\nis two \\boxed{2}"
WRONG = "one plus one\n\nis three \\boxed{3}"
SCORES = {"one plus one": 0.9, "is two \\boxed{2}": 0.8, "is three \\boxed{3}": 0.1}


async def solve(
    policy: ScriptedPolicy,
    strategy: dict[str, Any],
    *,
    scorer: ScriptedScorer | None = None,
    past: Past = NOTHING,
    pool: CandidatePool | None = None,
    watch: Watch | None = None,
    deadline_s: float = 5,
    **more: Any,
) -> SearchResult:
    """Search with a trace; `more` are fields of the request."""
    asked = {"model": "scripted", "prompt": "what is one plus one", "trace": True, "strategy": strategy, **more}
    return await search(
        SearchRequest.model_validate(asked),
        deadline_s=deadline_s,
        settings=PolicySettings(model="scripted"),
        engines=Engines(policy, Slots(64), BoxedReader(), scorer, Slots(64)),
        past=past,
        pool=pool,
        watch=watch,
    )


def records(result: SearchResult) -> list[Record]:
    """The trace, through the form in which it is written down."""
    return list(from_lines(to_lines(from_json(record) for record in result.trace or ())))
