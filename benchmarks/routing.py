"""What two replicas of each engine make of the prefix cache, by how requests are routed, beside one replica.

    .venv/bin/python -m benchmarks.routing --questions 12 --rounds 2

Starts two vLLM servers of the tiny policy and two of the tiny reward model, no gateway, and searches in this process by
the library: the same questions with the same seeds, several at once, once with one replica of each, once with two by
prefix affinity (as Mull routes), once with two in turn (round-robin). Before each, all prefix caches are emptied.

`hits` are the prompt tokens that were found in a prefix cache over all prompt tokens, by vLLM's own counters over both
replicas. The aim is to stay within three points of one replica's.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.own_engines import forget_prefixes, servers
from benchmarks.running_stack import counters, hardware, held_out
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.replica import Replica
from service.engines.reward import VllmScorer
from service.library import solve
from service.search.ports import Place
from service.settings import PolicySettings, RewardSettings
from service.settings_file import load_settings

QUERIES, HITS = "prefix_cache_queries_total", "prefix_cache_hits_total"
ARMS = ("one", "affinity", "round-robin")
STRATEGIES: dict[str, dict[str, Any]] = {
    "best_of_n": {"name": "best_of_n", "samples": 16},
    "beam_search": {"name": "beam_search", "beams": 4, "expansions": 4},
    "dvts": {"name": "dvts", "subtrees": 4, "expansions": 4},
    "mcts": {"name": "mcts", "simulations": 24, "expansions": 4},
}


@dataclass(slots=True)
class Seen:
    """What the replicas of one engine have counted, in tokens: one number for each replica."""

    queries: list[int]
    hits: list[int]

    @property
    def ratio(self) -> float:
        """Hits over queries, of all replicas together."""
        return sum(self.hits) / sum(self.queries)


@dataclass(slots=True)
class Arm:
    """One way to route, over all rounds of one strategy."""

    policy: Seen
    reward: Seen
    seconds: float = 0.0
    spilled: int = 0


class RoundRobin:
    """A route: each in turn, whatever is asked."""

    def __init__(self) -> None:
        self._turns = itertools.count()

    def __call__(self, servers: Sequence[Replica], place: Place | None) -> Replica:
        """Return the next of `servers`."""
        return servers[next(self._turns) % len(servers)]


async def searched(
    arm: str,
    policy: PolicySettings,
    reward: RewardSettings,
    questions: Sequence[str],
    strategy: Mapping[str, Any],
    *,
    at_once: int,
    seed: int,
) -> tuple[float, int]:
    """Search all questions; return the seconds that took, and how many requests were not sent to their home."""
    gate = asyncio.Semaphore(at_once)
    fleets = [Fleet(engine, route=RoundRobin() if arm == "round-robin" else None) for engine in (policy, reward)]
    async with AsyncExitStack() as opened:
        writer = VllmPolicy(policy, fleets[0])
        opened.push_async_callback(writer.aclose)
        judge = VllmScorer(reward, fleets[1])
        opened.push_async_callback(judge.aclose)

        async def one(question: str) -> None:
            async with gate:
                await solve(question, policy=writer, reward=judge, strategy=strategy, seed=seed, steps=policy.steps)

        begun = perf_counter()
        await asyncio.gather(*(one(question) for question in questions))
    return perf_counter() - begun, sum(fleet.spilled for fleet in fleets)


def _seen(urls: Sequence[str]) -> Seen:
    found = [counters(url, QUERIES, HITS) for url in urls]
    return Seen([int(each[QUERIES]) for each in found], [int(each[HITS]) for each in found])


def _add(total: Seen, before: Seen, after: Seen) -> None:
    for replica in range(len(total.queries)):
        total.queries[replica] += after.queries[replica] - before.queries[replica]
        total.hits[replica] += after.hits[replica] - before.hits[replica]


def measure(
    policies: Sequence[str], rewards: Sequence[str], *, questions: int, rounds: int, at_once: int
) -> dict[str, dict[str, Arm]]:
    """Run all strategies with all arms in turns; each round has questions and a seed of its own."""
    settings = load_settings(None)
    policy, reward = settings.policies["tiny-policy"], settings.reward_models["tiny-prm"]
    asked = held_out(questions * rounds)
    found: dict[str, dict[str, Arm]] = {}
    for name, strategy in STRATEGIES.items():
        found[name] = {arm: Arm(Seen([0, 0], [0, 0]), Seen([0, 0], [0, 0])) for arm in ARMS}
        for number in range(rounds):
            Console(stderr=True).print(f"[dim]{name}: round {number + 1} of {rounds}[/dim]", highlight=False)
            for arm in ARMS[number % len(ARMS) :] + ARMS[: number % len(ARMS)]:
                forget_prefixes([*policies, *rewards])
                before = _seen(policies), _seen(rewards)
                used = 1 if arm == "one" else 2
                seconds, spilled = asyncio.run(
                    searched(
                        arm,
                        policy.model_validate(policy.model_dump() | {"url": list(policies[:used])}),
                        reward.model_validate(reward.model_dump() | {"url": list(rewards[:used])}),
                        asked[number::rounds],
                        strategy,
                        at_once=at_once,
                        seed=number,
                    )
                )
                total = found[name][arm]
                _add(total.policy, before[0], _seen(policies))
                _add(total.reward, before[1], _seen(rewards))
                total.seconds += seconds
                total.spilled += spilled
    return found


def main() -> None:
    """Measure and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=12, help="of each round")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--at-once", type=int, default=4, help="Questions in flight.")
    given = options.parse_args()
    settings = load_settings(None)
    engines = [settings.policies["tiny-policy"]] * 2 + [settings.reward_models["tiny-prm"]] * 2
    with servers(engines) as urls:
        found = measure(urls[:2], urls[2:], questions=given.questions, rounds=given.rounds, at_once=given.at_once)
    table = Table(title="Prompt tokens found in a prefix cache, in percent")
    for column in ("strategy", "engine", *ARMS):
        table.add_column(column, justify="left" if column in ("strategy", "engine") else "right")
    for name, arms in found.items():
        table.add_row(name, "policy", *(f"{100 * arms[arm].policy.ratio:.1f}" for arm in ARMS))
        table.add_row("", "reward model", *(f"{100 * arms[arm].reward.ratio:.1f}" for arm in ARMS))
    Console(stderr=True).print(table)
    outcome = {
        "benchmark": "routing",
        **hardware(),
        "questions": given.questions,
        "rounds": given.rounds,
        "at_once": given.at_once,
        "strategies": {name: {arm: _figures(total) for arm, total in arms.items()} for name, arms in found.items()},
    }
    print(json.dumps(outcome))


def _figures(arm: Arm) -> dict[str, Any]:
    return {
        "policy_hits": round(arm.policy.ratio, 4),
        "reward_hits": round(arm.reward.ratio, 4),
        "policy_queries": arm.policy.queries,
        "reward_queries": arm.reward.queries,
        "seconds": round(arm.seconds, 1),
        "spilled": arm.spilled,
    }


if __name__ == "__main__":
    main()
