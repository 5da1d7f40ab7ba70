"""Many connections at once, most of them over what is let in: how soon each has its answer, and the gateway's memory.

    MULL_DOORS__TOKENS_IN_FLIGHT=100000 MULL_DOORS__TOKENS_WAITING=400000 make serve
    .venv/bin/python -m benchmarks.connections --connections 500
    .venv/bin/python -m benchmarks.connections --connections 500 --key "$(mull keys add load --requests-per-minute 50)"

Every request asks for a vote of 16, which is priced at 5,120 tokens: with these doors about 20 are let in, 80 wait for
as long as their deadline allows, and the rest is refused. With such a key nine of ten are over quota. Afterwards one
more must be answered.
"""

import argparse
import asyncio
import json
import secrets
import time
from collections import Counter
from statistics import quantiles

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import hardware, held_out, running_stack
from service.errors import StackError
from service.settings_file import load_settings
from service.stack.state import StateDir

SAMPLES = 16
GRACE_S = 30.0
"""How much longer than its deadline a client waits before it gives up and counts as left without an answer."""
LEFT_ALONE = "none"


async def one(http: aiohttp.ClientSession, question: str, deadline_s: float) -> tuple[str, float]:
    """Ask once; return the status, or `LEFT_ALONE`, and the seconds until then."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": question}],
        "seed": secrets.randbits(62),
        "mull": {
            "strategy": {"name": "majority_vote", "samples": SAMPLES},
            "budget": {"deadline_ms": int(deadline_s * 1000)},
        },
    }
    begun = time.perf_counter()
    try:
        async with http.post("/v1/chat/completions", json=body) as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return LEFT_ALONE, time.perf_counter() - begun
    return str(response.status), time.perf_counter() - begun


async def flood(
    url: str, key: str | None, connections: int, deadline_s: float, gateway: psutil.Process
) -> tuple[list[tuple[str, float]], int]:
    """Ask on all connections at once; return what came of each, and the gateway's largest memory, in bytes."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    largest = gateway.memory_info().rss
    timeout, connector = aiohttp.ClientTimeout(deadline_s + GRACE_S), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector) as http:
        questions = held_out(50)
        asking = asyncio.gather(*(one(http, questions[i % len(questions)], deadline_s) for i in range(connections)))
        while not asking.done():
            await asyncio.sleep(0.1)
            largest = max(largest, gateway.memory_info().rss)
        after, _ = await one(http, questions[0], deadline_s)
        # A key that has used up its requests is told so; what counts is that there is an answer.
        if after not in ("200", "429"):
            raise RuntimeError(f"afterwards one more got a {after}")
        return await asking, largest


def main() -> None:
    """Measure and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--connections", type=int, default=500)
    options.add_argument("--deadline", type=float, default=5.0, help="of each request, in seconds")
    options.add_argument("--key", help="an API key, where the gateway asks for one")
    given = options.parse_args()
    state = StateDir(load_settings(None).state_dir).load()
    if state is None:
        raise StackError("No stack is running.", hint="Start one: make serve.")
    gateway = psutil.Process(state.part("gateway").process.pid)
    before = gateway.memory_info().rss
    url = running_stack().gateway
    came, largest = asyncio.run(flood(url, given.key, given.connections, given.deadline, gateway))
    after = gateway.memory_info().rss
    table = Table(title=f"{given.connections} connections at once, deadline {given.deadline:g} s")
    for column in ("status", "requests", "seconds: median", "longest"):
        table.add_column(column, justify="right")
    figures = {}
    for status, count in sorted(Counter(status for status, _ in came).items()):
        seconds = sorted(taken for found, taken in came if found == status)
        median = quantiles(seconds, n=2)[0] if count > 1 else seconds[0]
        figures[status] = {"requests": count, "median_s": round(median, 2), "longest_s": round(seconds[-1], 2)}
        table.add_row(status, str(count), f"{median:.2f}", f"{seconds[-1]:.2f}")
    Console().print(table)
    memory = {"before": before, "largest": largest, "after": after}
    mebibytes = {name: round(value / 2**20) for name, value in memory.items()}
    print(json.dumps({"benchmark": "connections", **hardware(), "came": figures, "gateway_mib": mebibytes}))
    if LEFT_ALONE in figures:
        raise SystemExit(f"{figures[LEFT_ALONE]['requests']} requests were left without an answer")


if __name__ == "__main__":
    main()
