"""What a tree search makes the reward model compute, for each token that the policy writes; and whether twice.

    MULL_REDIS__ENABLED=false MULL_SCORES__SIZE=0 make serve    # anew each time: its prefix cache must know nothing
    .venv/bin/python -m benchmarks.reward_tokens --questions 40

Tokens and requests come from vLLM's own counters, over all questions: `computed` is what the reward model's engine has
read of its prompts beyond its prefix cache, `submitted` is the prompts in full, which is what it would have computed
without a cache, and `rescored` what it would have computed had each sampled step been scored by itself, equal ones of
siblings too, with all that comes before it. All three are over the tokens that the policy wrote. `of_scored` is the
first two over the tokens of distinct steps alone, which is what they would be if the policy never wrote a step twice.

`scored_twice` is how many requests there are for which the traces know no pair of a question and a beginning of a
solution that was to be scored: of each search and each length of a prompt, more requests than distinct beginnings. Both
models of the tiny pair have one tokenizer, so that the policy's bills tell those lengths (and `rescored`). `unwanted`
are scores that came when their search had decided without them.
"""

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.running_stack import HELD_OUT, RunningStack, counters, hardware, running_stack
from service.cli.grading import seed_of
from service.cli.problems import Problem, read_problems
from service.search.trace import Grown, Judged, Record, Told, Wished, from_json
from strategies.protocol import Path, Score, Scored

WRITTEN, READ, CACHED = "generation_tokens_total", "prompt_tokens_total", "prefix_cache_hits_total"


@dataclass(frozen=True, slots=True)
class Searched:
    """One search: tokens of all sampled steps, each with what comes before it, and of distinct ones by themselves.

    Then counts of distinct scores: `told` to the strategy, `answered` by the reward model, and of these more than once
    (`twice`).
    """

    rescored: int
    distinct: int
    told: int
    answered: int
    twice: int


async def ask(client: httpx.AsyncClient, problem: Problem, strategy: dict[str, Any], seed: int) -> Searched:
    """Search once, past the cache of answers."""
    body = {
        "model": "tiny",
        "seed": seed_of(seed, problem),
        "messages": [{"role": "user", "content": problem.problem}],
        "mull": {"strategy": strategy, "include": ["trace"]},
    }
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    found = response.json()["mull"]
    if found["cached"]:
        raise RuntimeError("answered from the cache: start the stack with MULL_REDIS__ENABLED=false")
    return _taken_apart([from_json(record) for record in found["trace"]])


def _taken_apart(trace: Sequence[Record]) -> Searched:
    grown = {record.node: record for record in trace if isinstance(record, Grown) and record.bill.generated}
    wished = {record.action.node for record in trace if isinstance(record, Wished) and isinstance(record.action, Score)}
    told = {record.event.node for record in trace if isinstance(record, Told) and isinstance(record.event, Scored)}

    def beginning(node: Path) -> tuple[str, ...]:
        return tuple(grown[node[:depth]].text.strip() for depth in range(1, len(node) + 1))

    steps = {beginning(node): grown[node] for node in wished}
    asked = Counter(map(_length, steps.values()))
    answered = Counter(record.bill.prompt for record in trace if isinstance(record, Judged) and record.bill.generated)
    return Searched(
        rescored=sum(map(_length, grown.values())),
        distinct=sum(step.bill.generated for step in steps.values()),
        told=len({beginning(node) for node in told}),
        answered=answered.total(),
        twice=(answered - asked).total(),
    )


def _length(step: Grown) -> int:
    """Return the length of the reward model's prompt, which closes a step that was cut short with a separator."""
    return step.bill.prompt + step.bill.generated + (step.finish_reason == "length")


async def ask_all(
    stack: RunningStack, problems: Sequence[Problem], strategy: dict[str, Any], *, at_once: int, seed: int
) -> list[Searched]:
    """Ask all problems, `at_once` at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(problem: Problem) -> Searched:
        async with gate:
            return await ask(client, problem, strategy, seed)

    async with httpx.AsyncClient(base_url=stack.gateway, timeout=300) as client:
        return list(await asyncio.gather(*(one(problem) for problem in problems)))


def _counted(stack: RunningStack) -> dict[str, float]:
    """Return the counters of both engines. The reward model writes one token for each score."""
    return {
        "written": counters(stack.policy, WRITTEN)[WRITTEN],
        "requests": counters(stack.reward, WRITTEN)[WRITTEN],
        "submitted": counters(stack.reward, READ)[READ],
        "cached": counters(stack.reward, CACHED)[CACHED],
    }


def main() -> None:
    """Measure, and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=40)
    options.add_argument("--beams", type=int, default=4)
    options.add_argument("--expansions", type=int, default=4)
    options.add_argument("--at-once", type=int, default=4, help="Questions in flight.")
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    every = read_problems(HELD_OUT)
    problems = every[:: max(1, len(every) // asked.questions)][: asked.questions]
    strategy = {"name": "beam_search", "beams": asked.beams, "expansions": asked.expansions}
    stack = running_stack()
    before = _counted(stack)
    searches = asyncio.run(ask_all(stack, problems, strategy, at_once=asked.at_once, seed=asked.seed))
    count = {name: value - before[name] for name, value in _counted(stack).items()}
    written, answered = count["written"], sum(search.answered for search in searches)
    if answered != count["requests"]:
        raise RuntimeError(f"vLLM has counted {count['requests']:.0f} scores, the searches {answered}: who else asks?")
    computed, submitted = count["submitted"] - count["cached"], count["submitted"]
    distinct = sum(search.distinct for search in searches)
    outcome: dict[str, Any] = {
        "benchmark": "reward_tokens",
        **hardware(),
        "strategy": strategy,
        "questions": len(problems),
        "at_once": asked.at_once,
        "seed": asked.seed,
        "policy_tokens": round(written),
        "computed": round(computed / written, 3),
        "submitted": round(submitted / written, 3),
        "rescored": round(sum(search.rescored for search in searches) / written, 3),
        "of_scored": {"computed": round(computed / distinct, 3), "submitted": round(submitted / distinct, 3)},
        "requests": answered,
        "unwanted": answered - sum(search.told for search in searches),
        "scored_twice": sum(search.twice for search in searches),
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
