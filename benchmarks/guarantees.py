"""What each guarantee costs, and what it brings: the same work with it and without it, in turns of one run.

    make serve
    .venv/bin/python -m benchmarks.guarantees --rounds 6

*memory*: cold keys, so that nothing can be found: the same questions with the same seeds, asked plainly (result cache,
single flight, candidate pool and shared scores are all asked and written) and with `Cache-Control: no-store` (none of
them). The gateway's part of it is cache and flight; the worker's is the pool (whole samples) and the scores.
*flight*: sixteen identical requests at once, as they are and with `no-store`, beside one alone.
*pool*: the same question with 4, 16 and 64 samples in turn, as they are and with `no-store`, beside one of 64.
*routing*: see `benchmarks.routed`.

Figures are ratios, with over without: the geometric mean over the rounds, the least and the largest. Who begins changes
from round to round, an even number of them: the second of a pair finds its prompts in the engines' prefix caches.
"""

import argparse
import asyncio
import itertools
import json
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redis import Redis
from rich.console import Console

from benchmarks.asking import Memory, Places, Search, Took, spread, took
from benchmarks.parts import WORKER, running_parts
from benchmarks.routed import routing
from benchmarks.running_stack import hardware, held_out, running_stack
from service.errors import StackError
from service.stack.state import Record

IN_FLIGHT = 8
IDENTICAL = 16
SIZES = (4, 16, 64)
WORKLOADS: dict[str, dict[str, Any]] = {
    "sample": {"name": "sample"},
    "best_of_8": {"name": "best_of_n", "samples": 8, "early_stop": "off"},
    "beam_search_2x2": {"name": "beam_search", "beams": 2, "expansions": 2},
}
SECTIONS = ("memory", "flight", "pool", "routing")


async def memory(places: Places, rounds: int, fresh: Callable[[int], list[str]], seed: int) -> dict[str, Any]:
    """Measure cold keys with and without all that is remembered; raises `RuntimeError` where one was not cold."""
    found: dict[str, Any] = {}
    for name, strategy in WORKLOADS.items():
        pairs = []
        for number in range(rounds):
            questions = fresh(2 * IN_FLIGHT)
            pair: dict[Memory, Took] = {}
            for way in _turn(number):
                searches = [Search(question, strategy, seed, way) for question in questions]
                pair[way] = await took(places, searches, in_flight=IN_FLIGHT)
            if pair["use"].words != Counter(miss=len(questions)) or pair["use"].remembered:
                raise RuntimeError(f"not cold: {pair['use'].words}, start the stack anew")
            pairs.append(pair)
        count = rounds * 2 * IN_FLIGHT
        uses = [pair["use"] for pair in pairs]
        found[name] = {
            "seconds": _ratio(pairs, lambda side: side.seconds),
            "cpu": {part: _ratio(pairs, partial(_cpu, part)) for part in ("gateway", WORKER)},
            "cpu_all": _ratio(pairs, lambda side: sum(side.cpu.values()) - side.cpu[WORKER]),
            "policy_tokens": _ratio(pairs, lambda side: side.policy_tokens),
            "per_request": {
                **{way: _per_request([pair[way] for pair in pairs], count) for way in ("use", "none")},
                "redis_commands": round(sum(side.redis_commands for side in uses) / count, 2),
                "redis_ms": round(sum(side.redis_seconds for side in uses) / count * 1000, 3),
                "redis_bytes": round(sum(side.redis_bytes for side in uses) / count),
            },
        }
    return found


async def flight(places: Places, rounds: int, fresh: Callable[[int], list[str]], seed: int) -> dict[str, Any]:
    """Measure identical requests at once, beside one alone."""
    strategy, rows, words = WORKLOADS["best_of_8"], [], Counter[str]()
    for number in range(rounds):
        [question] = fresh(1)
        row: dict[str, Took] = {}
        for way in _turn(number):
            row[way] = await took(places, [Search(question, strategy, seed, way)] * IDENTICAL, in_flight=IDENTICAL)
        alone = await took(places, [Search(question, strategy, seed, "none")], in_flight=1)
        rows.append({**row, "alone": alone})
        words += row["use"].words
    return {
        "identical": IDENTICAL,
        "answers": dict(words),
        **{
            way: {
                "policy_tokens": spread([row[way].policy_tokens / row["alone"].policy_tokens for row in rows]),
                "seconds": spread([row[way].seconds / row["alone"].seconds for row in rows]),
            }
            for way in ("use", "none")
        },
    }


async def pool(places: Places, rounds: int, fresh: Callable[[int], list[str]], seed: int) -> dict[str, Any]:
    """Measure a question that is asked with more and more samples, beside one request for the most."""
    found: dict[str, Any] = {}
    for early_stop in ("off", "exact"):
        rows, words = [], Counter[str]()
        for number in range(rounds):
            [question] = fresh(1)
            row: dict[Memory, list[Took]] = {}
            for way in _turn(number):
                row[way] = [
                    await took(places, [_vote(question, size, seed, early_stop, way)], in_flight=1) for size in SIZES
                ]
            whole = await took(places, [_vote(question, SIZES[-1], seed, early_stop, "none")], in_flight=1)
            rows.append((row, whole))
            words += sum((part.words for part in row["use"]), Counter())
        found[f"early_stop {early_stop}"] = {
            "answers": dict(words),
            **{
                way: {
                    "policy_tokens": spread(
                        [sum(part.policy_tokens for part in row[way]) / whole.policy_tokens for row, whole in rows]
                    ),
                    "seconds": spread([sum(part.seconds for part in row[way]) / whole.seconds for row, whole in rows]),
                    "worker_cpu": spread(
                        [sum(part.cpu[WORKER] for part in row[way]) / whole.cpu[WORKER] for row, whole in rows]
                    ),
                }
                for way in ("use", "none")
            },
        }
    return {"sizes": SIZES, **found}


def _vote(question: str, samples: int, seed: int, early_stop: str, way: Memory) -> Search:
    return Search(question, {"name": "majority_vote", "samples": samples, "early_stop": early_stop}, seed, way)


def _cpu(part: str, side: Took) -> float:
    return side.cpu[part]


def _turn(number: int) -> tuple[Memory, Memory]:
    return ("use", "none") if number % 2 == 0 else ("none", "use")


def _ratio(pairs: Sequence[dict[Memory, Took]], of: Callable[[Took], float]) -> dict[str, Any]:
    return spread([of(pair["use"]) / of(pair["none"]) for pair in pairs])


def _per_request(sides: Sequence[Took], count: int) -> dict[str, Any]:
    """Return the CPU milliseconds of each part, and the tokens."""
    return {
        "cpu_ms": {part: round(sum(side.cpu[part] for side in sides) / count * 1000, 2) for part in sides[0].cpu},
        "policy_tokens": round(sum(side.policy_tokens for side in sides) / count, 1),
        "reward_tokens": round(sum(side.reward_tokens for side in sides) / count, 1),
    }


def _places(parts: Sequence[Record]) -> Places:
    redis = next((part.url for part in parts if part.name == "redis"), None)
    if redis is None:
        raise StackError("No Redis runs beside the stack.", hint="Start one that has its own: make serve.")
    return Places(running_stack(), parts, Redis.from_url(redis))


async def measure(sections: Sequence[str], rounds: int) -> dict[str, Any]:
    """Run the sections one after the other; no question is asked twice."""
    places, seed = _places(running_parts()), secrets.randbits(31)
    unused = itertools.cycle(held_out(500))

    def fresh(count: int) -> list[str]:
        return list(itertools.islice(unused, count))

    warm_up = [Search(question, WORKLOADS["best_of_8"], seed, "use") for question in fresh(IN_FLIGHT)]
    await took(places, warm_up, in_flight=IN_FLIGHT)
    found: dict[str, Any] = {}
    for section in sections:
        Console(stderr=True).print(f"[dim]{section}[/dim]")
        match section:
            case "memory":
                found[section] = await memory(places, rounds, fresh, seed)
            case "flight":
                found[section] = await flight(places, rounds, fresh, seed)
            case "pool":
                found[section] = await pool(places, rounds, fresh, seed)
            case _:
                found[section] = await routing(places.stack, rounds)
    return found


def main() -> None:
    """Measure and print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="an even number, of five or more")
    options.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    given = options.parse_args()
    found = asyncio.run(measure(given.sections, given.rounds))
    print(json.dumps({"benchmark": "guarantees", **hardware(), "rounds": given.rounds, **found}))


if __name__ == "__main__":
    main()
