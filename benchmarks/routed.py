"""What routing between replicas costs a search worker: CPU per candidate with one replica, with two, and bare.

The two replicas are one server under two addresses: the engine's work is the same, and what differs is the client's.
Searches run in this process, by the library, over connections that are kept, as a worker keeps them. *Bare* is the
least that a client can do: one aiohttp POST for as many tokens, not streamed.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.asking import WRITTEN, spread
from benchmarks.client_cost import PARALLEL, bare
from benchmarks.running_stack import RunningStack, counters, held_out
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.library import PolicySettings, solve

SAMPLES = 16
QUESTIONS = 16


async def routing(stack: RunningStack, rounds: int) -> dict[str, Any]:
    """Return CPU milliseconds per candidate of votes of 16, and two replicas over one, in turns of one run."""
    questions = held_out(QUESTIONS)
    urls = {"one": [stack.policy], "two": [stack.policy, stack.policy.replace("127.0.0.1", "0.0.0.0")]}
    taken: dict[str, list[float]] = {"one": [], "two": [], "bare": []}
    async with AsyncExitStack() as opened:
        policies = {}
        for way, roots in urls.items():
            settings = PolicySettings.model_validate({"model": "tiny-policy", "url": roots})
            policies[way] = VllmPolicy(settings, Fleet(settings))
            opened.push_async_callback(policies[way].aclose)
        await _votes(policies["two"], questions, seed=rounds)
        before = counters(stack.policy, WRITTEN)[WRITTEN]
        await _votes(policies["one"], questions, seed=rounds)
        tokens = round((counters(stack.policy, WRITTEN)[WRITTEN] - before) / (QUESTIONS * SAMPLES))
        for number in range(rounds):
            for way in ("one", "two", "bare") if number % 2 == 0 else ("bare", "two", "one"):
                if way == "bare":
                    taken[way].append(await bare(stack, questions, tokens, QUESTIONS * SAMPLES))
                else:
                    taken[way].append(await _votes(policies[way], questions, seed=number))
    return {
        "tokens": tokens,
        "in_flight": PARALLEL,
        "cpu_ms": {way: round(sum(found) / rounds, 3) for way, found in taken.items()},
        "two_over_one": spread([two / one for one, two in zip(taken["one"], taken["two"], strict=True)]),
        "one_over_bare": spread([one / least for one, least in zip(taken["one"], taken["bare"], strict=True)]),
    }


async def _votes(policy: VllmPolicy, questions: Sequence[str], *, seed: int) -> float:
    """Ask all questions, one after the other, and return the CPU milliseconds of this process per candidate."""
    strategy = {"name": "majority_vote", "samples": SAMPLES, "early_stop": "off"}
    begun = time.process_time()
    for question in questions:
        await solve(question, policy=policy, strategy=strategy, seed=seed, budget={"parallel": PARALLEL})
    return (time.process_time() - begun) / (len(questions) * SAMPLES) * 1000
