"""What it costs to run the simulations of one tree search at the same time: seconds, tokens, accuracy.

    MULL_REDIS__ENABLED=false MULL_SCORES__SIZE=0 make serve
    .venv/bin/python -m benchmarks.parallel_mcts --alone 12 --questions 200

The same number of simulations, one at a time and `--parallel` in flight. Seconds are those of searches alone on the
machine, over the first `--alone` questions, by turns the serial one first and the other one; tokens and accuracy are
those of all questions.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks.running_stack import HELD_OUT, hardware, running_stack
from benchmarks.strategies import Asked, ask_all
from service.cli.intervals import wilson
from service.cli.problems import read_problems

NO_LIMIT = 1_000_000


def main() -> None:
    """Measure, and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=200)
    options.add_argument("--alone", type=int, default=12)
    options.add_argument("--simulations", type=int, default=32)
    options.add_argument("--parallel", type=int, default=8)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--at-once", type=int, default=6, help="Questions in flight where tokens are counted.")
    asked = options.parse_args()
    every = read_problems(HELD_OUT)
    problems = every[:: max(1, len(every) // asked.questions)][: asked.questions]
    stack, console = running_stack(), Console()
    ways = {
        parallel: {"name": "mcts", "simulations": asked.simulations, "parallel": parallel}
        for parallel in (1, asked.parallel)
    }
    alone: dict[int, list[Asked]] = {parallel: [] for parallel in ways}
    for number, problem in enumerate(problems[: asked.alone]):
        for parallel in sorted(ways, reverse=number % 2 == 1):
            alone[parallel] += asyncio.run(
                ask_all(stack, [problem], ways[parallel], NO_LIMIT, at_once=1, seed=asked.seed)
            )
    rows = {}
    for parallel, strategy in ways.items():
        found = asyncio.run(ask_all(stack, problems, strategy, NO_LIMIT, at_once=asked.at_once, seed=asked.seed + 1))
        rows[parallel] = _row(found, alone[parallel])
        console.print(f"[dim]{parallel} in flight: {rows[parallel]}[/dim]", highlight=False)
    serial, parallel = rows[1], rows[asked.parallel]
    outcome: dict[str, Any] = {
        "benchmark": "parallel_mcts",
        **hardware(),
        "questions": len(problems),
        "alone": asked.alone,
        "simulations": asked.simulations,
        "seed": asked.seed,
        "rows": rows,
        "times_faster": round(serial["seconds_alone"] / parallel["seconds_alone"], 2),
        "tokens_ratio": round(parallel["policy_tokens"] / serial["policy_tokens"], 3),
    }
    print(json.dumps(outcome))


def _row(found: Sequence[Asked], alone: Sequence[Asked]) -> dict[str, Any]:
    correct = sum(search.correct for search in found)
    return {
        "accuracy": round(correct / len(found), 3),
        "interval_95": [round(bound, 3) for bound in wilson(correct, len(found))],
        "policy_tokens": round(sum(search.policy for search in found) / len(found), 1),
        "reward_tokens": round(sum(search.reward for search in found) / len(found), 1),
        "seconds_alone": round(sum(search.seconds for search in alone) / len(alone), 3),
    }


if __name__ == "__main__":
    main()
