"""Load held: a closed loop that keeps so many searches in flight, and whether the last minutes are as the first.

    make serve
    .venv/bin/python -m benchmarks.load --minutes 10 --in-flight 64

As soon as one search is answered the next is asked for: strategies, lengths and ways of answering in a fixed turn, so
that each stretch of time holds the same mix, with a question and a seed of its own, and `Cache-Control: no-store`. A
tenth of the time more, at most a minute, is run before the clock starts. Tokens are vLLM's own count.

It fails (exit status 1) on any error; on a throughput in tokens that is below `STEADY` of the first third's in the last
third; on a part whose memory or open files, each by its median, are higher in the last third than in the middle one by
more than `MEMORY_NOISE` and `MEMORY_SLACK`, or `HANDLES_SLACK`. `noise` is the standard error of the ratio, from the
spread between stretches of ten seconds: a ratio nearer to one than twice that tells nothing. `machine` is how fast the
machine itself was in the last third, as a share of the first: what of the ratio is not the service's doing.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import aiohttp

from benchmarks.held import Moment, held
from benchmarks.parts import running_parts, taken
from benchmarks.running_stack import RunningStack, counters, hardware, held_out, running_stack

STRETCH_S, STRETCHES = 10.0, 30
"""Counters are read every ten seconds, or so often in a run that is short."""
DEADLINE_S = 300.0
WARM_UP_S = 60.0
NO_ANSWER, BROKEN = "no answer", "broken stream"
WRITTEN, READ = "generation_tokens_total", "prompt_tokens_total"


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to ask; `max_tokens` caps each candidate."""

    strategy: dict[str, Any]
    max_tokens: int
    stream: bool = False


MIX = (
    Shape({"name": "sample"}, 320),
    Shape({"name": "best_of_n", "samples": 4}, 320),
    Shape({"name": "majority_vote", "samples": 8}, 128, stream=True),
    Shape({"name": "beam_search", "beams": 2, "expansions": 2}, 320),
    Shape({"name": "greedy"}, 64, stream=True),
    Shape({"name": "best_of_n", "samples": 8, "early_stop": "off"}, 128),
    Shape({"name": "particle_filter", "particles": 4}, 320),
    Shape({"name": "majority_vote", "samples": 4}, 320),
    Shape({"name": "mcts", "simulations": 8, "expansions": 2}, 320, stream=True),
    Shape({"name": "sample"}, 64),
    Shape({"name": "dvts", "subtrees": 2, "expansions": 2}, 320),
    Shape({"name": "best_of_n", "samples": 16}, 64, stream=True),
)


@dataclass(slots=True)
class Log:
    """What has come; of each answer when, in seconds of the monotonic clock, and how long it took."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    stopped_by: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    moments: list[Moment] = field(default_factory=list)


async def ask(http: aiohttp.ClientSession, shape: Shape, question: str, seed: int, at: str = "") -> tuple[str, str]:
    """Search once; return the status (of a stream that breaks off: `BROKEN`) and what stopped the search.

    `at` is the gateway's root, where the session does not name it.
    """
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": question}],
        "max_completion_tokens": shape.max_tokens,
        "seed": seed,
        "stream": shape.stream,
        "mull": {"strategy": shape.strategy, "budget": {"deadline_ms": int(DEADLINE_S * 1000)}},
    }
    try:
        async with http.post(f"{at}/v1/chat/completions", json=body) as response:
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return NO_ANSWER, ""
    if response.status != 200:
        return str(response.status), ""
    if not shape.stream:
        return "200", str(json.loads(text)["mull"]["stopped_by"])
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        return BROKEN, ""
    last = next(chunk["mull"] for chunk in map(json.loads, reversed(events[:-1])) if "stopped_by" in chunk["mull"])
    return "200", str(last["stopped_by"])


async def run(stack: RunningStack, log: Log, *, in_flight: int, warm_up_s: float, measured_s: float) -> None:
    """Keep `in_flight` searches going until the time is over."""
    numbers, questions = itertools.count(), held_out(500)
    begun = time.monotonic() + warm_up_s
    until = begun + measured_s

    async def client(http: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            number = next(numbers)
            sent = time.monotonic()
            # Questions go round more slowly than the mix, so that each is asked in another way the next time.
            status, why = await ask(http, MIX[number % len(MIX)], questions[number * 7 % len(questions)], number)
            if status == "200":
                log.answers.append((time.monotonic(), time.monotonic() - sent))
                log.stopped_by[why] += 1
            else:
                log.errors[status] += 1

    async def sampler() -> None:
        await asyncio.sleep(begun - time.monotonic())
        while time.monotonic() < until:
            log.moments.append(await asyncio.to_thread(_moment, stack))
            await asyncio.sleep(min(STRETCH_S, measured_s / STRETCHES))

    timeout = aiohttp.ClientTimeout(DEADLINE_S + 30)
    headers, connector = {"cache-control": "no-store"}, aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(stack.gateway, headers=headers, timeout=timeout, connector=connector) as http:
        sampling = asyncio.create_task(sampler())
        await asyncio.gather(*(client(http) for _ in range(in_flight)))
        await sampling


def _moment(stack: RunningStack) -> Moment:
    policy, reward = counters(stack.policy, WRITTEN)[WRITTEN], counters(stack.reward, READ)[READ]
    return Moment(time.monotonic(), int(policy), int(reward), taken(running_parts()), _yardstick())


def _yardstick() -> float:
    """Return the CPU seconds of this thread that a fixed piece of work takes: its median of a few."""
    took = []
    for _ in range(5):
        begun = time.thread_time()
        sum(number * number for number in range(100_000))
        took.append(time.thread_time() - begun)
    return median(took)


def main() -> None:
    """Hold the load, and print one line of JSON; exits with 1 where it was not held."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--in-flight", type=int, default=64)
    given = options.parse_args()
    stack, log = running_stack(), Log()
    measured_s = given.minutes * 60
    warm_up_s = min(WARM_UP_S, measured_s / 10)
    asyncio.run(run(stack, log, in_flight=given.in_flight, warm_up_s=warm_up_s, measured_s=measured_s))
    found = held(log.answers, log.moments)
    outcome = {
        "benchmark": "load",
        **hardware(),
        "in_flight": given.in_flight,
        "minutes": given.minutes,
        "answered": len(log.answers),
        "errors": dict(log.errors),
        "stopped_by": dict(log.stopped_by),
        **found.figures,
    }
    print(json.dumps(outcome))
    broken = [f"{count} answers: {status}" for status, count in log.errors.items()] + found.broken
    if broken:
        raise SystemExit("not held: " + "; ".join(broken))


if __name__ == "__main__":
    main()
