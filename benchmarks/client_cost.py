"""What a candidate costs on Mull's side: CPU time of the driver, and of the whole search worker, beside a bare request.

    MULL_REDIS__ENABLED=false MULL_SCORES__SIZE=0 make serve
    .venv/bin/python -m benchmarks.client_cost --candidates 512 --profile docs/driver-profile.txt

One *bare request* is the least that a client can do: one aiohttp POST to vLLM for a completion of the same length, not
streamed, its JSON parsed. *Driver* is a search in this very process with the library; *worker* is the Ray Serve replica
behind the gateway, its CPU time taken from the operating system, less what it takes when idle. All at 16 in flight.
"""

import argparse
import asyncio
import cProfile
import io
import json
import pstats
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import RunningStack, check_searched, counters, hardware, held_out, running_stack
from service.library import solve

PARALLEL = 16
SAMPLES = 64
IDLE_S = 5.0
VOTE = {"name": "majority_vote", "samples": SAMPLES, "early_stop": "off"}
BEST = {"name": "best_of_n", "samples": SAMPLES, "early_stop": "off"}


async def bare(stack: RunningStack, questions: list[str], tokens: int, count: int) -> float:
    """CPU milliseconds of one bare request for `tokens` tokens."""
    gate = asyncio.Semaphore(PARALLEL)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def one(seed: int) -> None:
            asked = {
                "model": "tiny-policy",
                "prompt": questions[seed % len(questions)],
                "max_tokens": tokens,
                "ignore_eos": True,
                "seed": seed,
            }
            async with gate, http.post(f"{stack.policy}/v1/completions", json=asked) as response:
                json.loads(await response.read())

        await asyncio.gather(*(one(seed) for seed in range(PARALLEL)))
        begun = time.process_time()
        await asyncio.gather(*(one(seed) for seed in range(count)))
        return (time.process_time() - begun) / count * 1000


async def driver(stack: RunningStack, questions: list[str], strategy: dict[str, Any]) -> float:
    """CPU milliseconds per candidate of searches in this process."""
    reward = stack.reward if strategy["name"] == "best_of_n" else None
    begun = time.process_time()
    for question in questions:
        await solve(question, policy=stack.policy, reward=reward, strategy=strategy, budget={"parallel": PARALLEL})
    return (time.process_time() - begun) / (len(questions) * SAMPLES) * 1000


def worker(stack: RunningStack, questions: list[str], strategy: dict[str, Any], seed: int) -> float:
    """CPU milliseconds per candidate of the Ray Serve replica."""
    replica = next(
        process
        for process in psutil.process_iter(["cmdline", "name"])
        if "ServeReplica:mull" in " ".join(process.info["cmdline"] or []) + (process.info["name"] or "")
    )
    idle_from = _cpu(replica)
    time.sleep(IDLE_S)
    idle = (_cpu(replica) - idle_from) / IDLE_S
    begun, clock = _cpu(replica), time.perf_counter()
    for question in questions:
        mull = {"strategy": strategy, "budget": {"parallel": PARALLEL}}
        body = {"model": "tiny", "seed": seed, "messages": [{"role": "user", "content": question}], "mull": mull}
        reply = httpx.post(f"{stack.gateway}/v1/chat/completions", json=body, timeout=300)
        reply.raise_for_status()
        check_searched(reply.json()["mull"])
    busy = _cpu(replica) - begun - idle * (time.perf_counter() - clock)
    return busy / (len(questions) * SAMPLES) * 1000


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--candidates", type=int, default=512)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--profile", type=Path, help="write the driver's profile to this file")
    asked = options.parse_args()
    stack, questions = running_stack(), held_out(max(1, asked.candidates // SAMPLES))
    generated = "generation_tokens_total"
    asyncio.run(driver(stack, questions[:1], VOTE))
    before = counters(stack.policy, generated)[generated]
    figures = {"driver, majority vote": asyncio.run(driver(stack, questions, VOTE))}
    tokens = round((counters(stack.policy, generated)[generated] - before) / (len(questions) * SAMPLES))
    figures["driver, best-of-n"] = asyncio.run(driver(stack, questions, BEST))
    figures["worker, majority vote"] = worker(stack, questions, VOTE, asked.seed)
    figures["worker, best-of-n"] = worker(stack, questions, BEST, asked.seed)
    figures["one bare request, not streamed"] = asyncio.run(bare(stack, questions, tokens, asked.candidates))
    figures["one bare request of one token"] = asyncio.run(bare(stack, questions, 1, asked.candidates))
    if asked.profile:
        asked.profile.write_text(_profile(lambda: driver(stack, questions[:2], VOTE)))
    table = Table(title=f"CPU milliseconds per candidate of {tokens} tokens, {PARALLEL} in flight")
    table.add_column("what")
    table.add_column("ms", justify="right")
    for name, milliseconds in figures.items():
        table.add_row(name, f"{milliseconds:.2f}")
    Console().print(table)
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"benchmark": "client_cost", **hardware(), "tokens": tokens, **rounded}))


def _profile(work: Callable[[], Awaitable[float]]) -> str:
    """Return where the time goes, by a function's own time."""

    async def run() -> None:
        await work()

    profile, text = cProfile.Profile(time.process_time), io.StringIO()
    profile.runcall(asyncio.run, run())
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(40)
    return text.getvalue()


if __name__ == "__main__":
    main()
