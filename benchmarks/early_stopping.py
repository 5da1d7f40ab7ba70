"""What early stopping saves: tokens paid and seconds, by how many candidates run at once.

    MULL_REDIS__ENABLED=false MULL_SCORES__SIZE=0 make serve
    .venv/bin/python -m benchmarks.early_stopping --questions 16

Each held-out question is searched without early stopping first; then with it, at several `parallel`, and in waves
(`economy`). Paid are the tokens that vLLM's own counters have seen. Two checks go with it: each search must have the
winner of the search without early stopping, and so must every *replay*: the recorded candidates of that search are
played to the same strategy and driver in random orders of arrival.
"""

import argparse
import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import RunningStack, check_searched, counted, hardware, held_out, running_stack
from service.search.answers import MathAnswers
from service.search.driver import Engines
from service.search.past import past_of
from service.search.request import SearchRequest
from service.search.scripted import ScriptedPolicy, ScriptedScorer
from service.search.search import search
from service.search.slots import Slots
from service.search.trace import Begun, from_json
from service.settings import PolicySettings

PARALLEL = (64, 16, 8, 4)
REPLAYS = 20


@dataclass(frozen=True, slots=True)
class Case:
    """A strategy that can stop early."""

    title: str
    strategy: dict[str, Any]
    score: dict[str, str] | None


CASES = (
    Case("best-of-16, min, best", {"name": "best_of_n", "samples": 16}, {"steps": "min", "select": "best"}),
    Case("best-of-16, min, vote", {"name": "best_of_n", "samples": 16}, {"steps": "min", "select": "weighted_vote"}),
    Case("majority-of-64", {"name": "majority_vote", "samples": 64}, None),
)


@dataclass(slots=True)
class Total:
    """Sums over the questions."""

    policy: int = 0
    reward: int = 0
    seconds: float = 0.0
    same: int = 0
    questions: int = 0


def ask(
    stack: RunningStack, case: Case, question: str, how: dict[str, Any], parallel: int | None, seed: int
) -> dict[str, Any]:
    """Search once, past the cache (each question and setting is asked once), and return Mull's part of the answer."""
    mull: dict[str, Any] = {"strategy": {**case.strategy, **how}, "include": ["trace"]}
    mull["budget"] = {} if parallel is None else {"parallel": parallel}
    mull |= {"score": case.score} if case.score else {}
    body = {"model": "tiny", "seed": seed, "messages": [{"role": "user", "content": question}], "mull": mull}
    response = httpx.post(f"{stack.gateway}/v1/chat/completions", json=body, timeout=300)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()["mull"]
    check_searched(answer)
    return answer


def measure(asked: Callable[[], dict[str, Any]], stack: RunningStack, total: Total) -> dict[str, Any]:
    """Search once and add what it cost to `total`."""
    with counted(stack) as paid:
        answer = asked()
    total.policy += paid.policy_generated
    total.reward += paid.reward_prompt
    total.seconds += answer["seconds"]
    total.questions += 1
    return answer


async def replays(trace: Sequence[dict[str, Any]], winner: str | None, seed: int) -> int:
    """Play recorded candidates in random orders of arrival; return how often the winner is the same."""
    records = [from_json(record) for record in trace]
    begun = records[0]
    if not isinstance(begun, Begun):
        raise TypeError("a trace begins with Begun")
    past = past_of(records, begun.request)
    texts = [past.writings[i,].text for i in range(begun.request.strategy.candidates)]
    scores = dict(past.scores)
    rng, reader, same = random.Random(seed), MathAnswers(), 0
    try:
        for _ in range(REPLAYS):
            policy = ScriptedPolicy(
                texts, request_seed=begun.request.seed, pause=lambda: rng.choice((0, 0, 0, 1e-5, 1e-4))
            )
            request = begun.request.model_dump() | {
                "strategy": begun.request.strategy.model_dump() | {"early_stop": "exact"},
                "messages": (),
                "prompt": "recorded",
                "max_completion_tokens": 4000,
                "budget": {"parallel": rng.choice((None, 2, 4, 8, 16))},
                "trace": False,
            }
            engines = Engines(policy, Slots(64), reader, _Recorded(scores), Slots(64))
            played = await search(
                SearchRequest.model_validate(request),
                deadline_s=120,
                settings=PolicySettings(model="recorded"),
                engines=engines,
            )
            same += played.choices[0].answer == winner
    finally:
        await reader.aclose()
    return same


class _Recorded(ScriptedScorer):
    """Scores by everything up to and including the step, as they were recorded."""

    def __init__(self, by_prefix: dict[tuple[str, ...], float]) -> None:
        super().__init__({}, pause=lambda: 0)
        self._by_prefix = by_prefix

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Any) -> tuple[float, ...]:
        bill.exact = True
        await asyncio.sleep(0)
        return (self._by_prefix[tuple(steps)],)


def main() -> None:
    """Measure all cases and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    questions, seed = held_out(asked.questions), asked.seed
    stack, console = running_stack(), Console()
    outcome: dict[str, Any] = {
        "benchmark": "early_stopping",
        **hardware(),
        "questions": len(questions),
        "seed": seed,
        "cases": {},
    }
    for case in CASES:
        settings: list[tuple[str, dict[str, Any], int | None]] = [
            *((f"parallel {parallel}", {"early_stop": "exact"}, parallel) for parallel in PARALLEL),
            ("economy", {"economy": True}, None),
        ]
        without, totals = Total(), {name: Total() for name, _, _ in settings}
        replayed = same = 0
        for number, question in enumerate(questions):
            console.print(f"[dim]{case.title}: question {number + 1} of {len(questions)}[/dim]", highlight=False)
            off = {"early_stop": "off"}
            full = measure(partial(ask, stack, case, question, off, 64, seed), stack, without)
            same += asyncio.run(replays(full["trace"], full["answer"], number))
            replayed += REPLAYS
            for name, how, parallel in settings:
                early = measure(partial(ask, stack, case, question, how, parallel, seed), stack, totals[name])
                totals[name].same += early["answer"] == full["answer"]
        console.print(_table(case, without, totals))
        console.print(f"replays with the same winner: {same} of {replayed}")
        outcome["cases"][case.title] = {
            "without": _figures(without, without),
            **{name: _figures(total, without) for name, total in totals.items()},
            "replays": replayed,
            "replays_same_winner": same,
        }
    print(json.dumps(outcome))


def _table(case: Case, without: Total, totals: dict[str, Total]) -> Table:
    table = Table(title=case.title)
    for column in ("setting", "policy tokens", "÷ without", "reward tokens", "÷ without", "seconds", "same winner"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for name, total in {"without, 64 at once": without, **totals}.items():
        ratios = (
            f"{total.policy / without.policy:.2f}",
            f"{total.reward / without.reward:.2f}" if without.reward else "",
        )
        same = f"{total.same} of {total.questions}" if total is not without else ""
        table.add_row(name, f"{total.policy}", ratios[0], f"{total.reward}", ratios[1], f"{total.seconds:.1f}", same)
    return table


def _figures(total: Total, without: Total) -> dict[str, float]:
    return {
        "policy_tokens": total.policy,
        "policy_ratio": round(total.policy / without.policy, 3),
        "reward_tokens": total.reward,
        "reward_ratio": round(total.reward / without.reward, 3) if without.reward else 0,
        "seconds": round(total.seconds, 2),
        "same_winner": total.same,
    }


if __name__ == "__main__":
    main()
