"""What each strategy makes of the same budget: accuracy, tokens, and how little of them is wasted.

    MULL_REDIS__ENABLED=false MULL_SCORES__SIZE=0 make serve
    .venv/bin/python -m benchmarks.strategies --questions 200 --out strategies.jsonl

Every held-out question is asked under a limit of policy tokens, by every strategy, as wide as the limit allows. Flat
strategies and MCTS go on until the limit stops them; a search by levels has a width of its own, chosen before from the
mean length of a solution, and ends when its last solution does. What is paid is counted by vLLM.

`used`: tokens of nodes that were scored or came to their own end, by all that were paid. `uncached`: prompt tokens that
the policy's engine has computed, by the floor of a prefix cache in blocks: the question's prompt once, and for each
later request what lies beyond its last whole block. Of a prompt that ends with a block, the last block is computed.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import HELD_OUT, RunningStack, check_searched, counted, hardware, running_stack
from service.cli.grading import seed_of
from service.cli.intervals import wilson
from service.cli.problems import Problem, read_problems
from service.search.answers import MathAnswers
from service.search.trace import Grown, Record, Told, from_json
from strategies.protocol import Ended, Scored

BUDGETS = (256, 512, 1024, 2048)
SOLUTION = 170
"""Policy tokens that a solution is given when a width is chosen: the mean is 129, and a quarter of a budget is left."""
BLOCK = 32


def settings(budget: int) -> dict[str, dict[str, Any]]:
    """Return every strategy, as wide as `budget` policy tokens allow."""
    width = budget // SOLUTION
    many = {"samples": 64, "early_stop": "off"}
    return {
        "greedy": {"name": "greedy"},
        "majority_vote": {"name": "majority_vote", **many},
        "best_of_n": {"name": "best_of_n", **many},
        "beam_search": {"name": "beam_search", "beams": max(1, width // 3), "expansions": 3},
        "beam_search, async": {"name": "beam_search", "beams": max(1, width // 3), "expansions": 3, "mode": "async"},
        "dvts": {"name": "dvts", "subtrees": max(1, width // 3), "expansions": 3},
        "rebase": {"name": "rebase", "samples": width},
        "particle_filter": {"name": "particle_filter", "particles": width},
        "mcts": {"name": "mcts", "simulations": 256},
        "mcts, rollouts": {"name": "mcts", "simulations": 256, "evaluation": "rollout"},
    }


@dataclass(frozen=True, slots=True)
class Asked:
    """One search: tokens as the engines have billed them."""

    correct: bool
    answered: bool
    stopped_by: str
    seconds: float
    policy: int
    reward: int
    used: int
    uncached: int
    floor: int


async def ask(
    client: httpx.AsyncClient, answers: MathAnswers, problem: Problem, strategy: dict[str, Any], budget: int, seed: int
) -> Asked:
    """Search once, past the cache, and take the search apart."""
    mull = {"strategy": strategy, "budget": {"policy_tokens": budget}, "include": ["trace"]}
    body = {
        "model": "tiny",
        "seed": seed_of(seed, problem),
        "messages": [{"role": "user", "content": problem.problem}],
        "mull": mull,
    }
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    found = response.json()["mull"]
    check_searched(found)
    correct = found["answer"] is not None and await answers.equivalent(problem.answer, found["answer"])
    return Asked(
        correct=correct,
        answered=found["answer"] is not None,
        stopped_by=found["stopped_by"],
        seconds=found["seconds"],
        reward=found["usage"]["reward"]["submitted"],
        **_taken_apart([from_json(record) for record in found["trace"]]),
    )


def _taken_apart(trace: Sequence[Record]) -> dict[str, int]:
    """Return what a trace says of the policy's tokens: paid, used, uncached, and the floor of the uncached."""
    told = [record.event for record in trace if isinstance(record, Told)]
    useful = {event.node for event in told if isinstance(event, Ended | Scored)}
    grown = [record for record in trace if isinstance(record, Grown) and record.bill.generated]
    prompts = [record.bill.prompt for record in grown]
    return {
        "policy": sum(record.bill.generated for record in grown),
        "used": sum(record.bill.generated for record in grown if record.node in useful),
        "uncached": sum(record.bill.prompt - (record.bill.cached or 0) for record in grown),
        "floor": sum(prompts[:1]) + sum((prompt - 1) % BLOCK + 1 for prompt in prompts[1:]),
    }


async def ask_all(
    stack: RunningStack, problems: Sequence[Problem], strategy: dict[str, Any], budget: int, *, at_once: int, seed: int
) -> list[Asked]:
    """Ask all problems, `at_once` at a time."""
    gate, answers = asyncio.Semaphore(at_once), MathAnswers()

    async def one(problem: Problem) -> Asked:
        async with gate:
            return await ask(client, answers, problem, strategy, budget, seed)

    try:
        async with httpx.AsyncClient(base_url=stack.gateway, timeout=300) as client:
            return list(await asyncio.gather(*(one(problem) for problem in problems)))
    finally:
        await answers.aclose()


def main() -> None:
    """Measure what is not in the file of results yet, and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--at-once", type=int, default=6, help="Questions in flight.")
    options.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    options.add_argument("--only", nargs="+", help="Strategies by the names in the table; default: all.")
    options.add_argument(
        "--out", type=Path, required=True, help="Results, a line for each measured row; kept rows stay."
    )
    asked = options.parse_args()
    every = read_problems(HELD_OUT)
    problems = every[:: max(1, len(every) // asked.questions)][: asked.questions]
    rows = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    stack, console = running_stack(), Console()
    for budget in asked.budgets:
        for name, strategy in settings(budget).items():
            if (asked.only and name not in asked.only) or any(
                (r["strategy"], r["budget"]) == (name, budget) for r in rows
            ):
                continue
            with counted(stack) as paid:
                begun = asyncio.run(
                    _timed(ask_all(stack, problems, strategy, budget, at_once=asked.at_once, seed=asked.seed))
                )
            row = _row(name, strategy, budget, *begun, vllm=paid.policy_generated)
            rows.append(row)
            with asked.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            console.print(
                f"[dim]{budget} {name}: {row['accuracy']:.1%} in {row['wall_seconds']:.0f} s[/dim]", highlight=False
            )
    for budget in asked.budgets:
        console.print(_table(budget, [row for row in rows if row["budget"] == budget]))
    outcome = {
        "benchmark": "strategies",
        **hardware(),
        "questions": len(problems),
        "at_once": asked.at_once,
        "seed": asked.seed,
        "rows": rows,
    }
    print(json.dumps(outcome))


async def _timed(work: Any) -> tuple[list[Asked], float]:
    begun = asyncio.get_running_loop().time()
    return await work, asyncio.get_running_loop().time() - begun


def _row(
    name: str, strategy: dict[str, Any], budget: int, searches: Sequence[Asked], wall_s: float, *, vllm: int
) -> dict[str, Any]:
    total, count = (
        {key: sum(asdict(s)[key] for s in searches) for key in ("policy", "reward", "used", "uncached", "floor")},
        len(searches),
    )
    correct = sum(search.correct for search in searches)
    return {
        "strategy": name,
        "parameters": {key: value for key, value in strategy.items() if key != "name"},
        "budget": budget,
        "questions": count,
        "accuracy": correct / count,
        "interval_95": wilson(correct, count),
        "unanswered": sum(not search.answered for search in searches),
        "stopped_by": {
            reason: sum(s.stopped_by == reason for s in searches) for reason in sorted({s.stopped_by for s in searches})
        },
        "policy_tokens": total["policy"] / count,
        "policy_tokens_by_vllm": vllm / count,
        "reward_tokens": total["reward"] / count,
        "used": total["used"] / vllm,
        "uncached": total["uncached"] / count,
        "uncached_by_floor": total["uncached"] / total["floor"],
        "wall_seconds": wall_s,
        "search_seconds": sum(search.seconds for search in searches) / count,
    }


def _table(budget: int, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"{budget} policy tokens, {rows[0]['questions'] if rows else 0} questions")
    for column in ("strategy", "accuracy", "95 %", "paid", "reward", "used", "uncached", "÷ floor", "wall s"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for row in rows:
        low, high = row["interval_95"]
        table.add_row(
            row["strategy"],
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row['policy_tokens_by_vllm']:.0f}",
            f"{row['reward_tokens']:.0f}",
            f"{row['used']:.3f}",
            f"{row['uncached']:.0f}",
            f"{row['uncached_by_floor']:.2f}",
            f"{row['wall_seconds']:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
