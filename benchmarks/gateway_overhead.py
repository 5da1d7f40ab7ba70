"""What the gateway adds to the time of one greedy sample: the same questions asked of Mull and of vLLM directly.

    make serve
    .venv/bin/python -m benchmarks.gateway_overhead --in-flight 16

Rounds alternate: all questions with so many in flight go to the one, then to the other, and who begins changes from
round to round. Both are asked over HTTP, in OpenAI's form, not streamed, and write the same tokens. Each of Mull's
requests has a seed of its own, so that its cache is asked in vain and every question is searched.

Beside the times: the CPU milliseconds that one request takes of each part of the stack, and of this client.
"""

import argparse
import asyncio
import json
import secrets
import time
from statistics import quantiles

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import check_searched, hardware, held_out, running_stack
from service.settings_file import load_settings
from service.stack.processes import session
from service.stack.state import Record, StateDir

PATHS = ("vLLM", "Mull")
CLIENT = "this client"
LIMIT_S = 120.0


async def asked(http: httpx.AsyncClient, path: str, question: str, max_tokens: int) -> tuple[float, int]:
    """Return the milliseconds of one request and the tokens that were written."""
    body = {
        "model": "tiny-policy" if path == "vLLM" else "tiny",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "seed": secrets.randbits(62),
    }
    begun = time.perf_counter()
    response = await http.post("/v1/chat/completions", json=body)
    milliseconds = (time.perf_counter() - begun) * 1000
    response.raise_for_status()
    reply = response.json()
    if path == "Mull":
        check_searched(reply["mull"])
    return milliseconds, reply["usage"]["completion_tokens"]


async def round_of(
    http: httpx.AsyncClient, path: str, questions: list[str], max_tokens: int, in_flight: int
) -> list[tuple[float, int]]:
    """Ask all questions of one of the two, `in_flight` at a time."""
    gate = asyncio.Semaphore(in_flight)

    async def one(question: str) -> tuple[float, int]:
        async with gate:
            return await asked(http, path, question, max_tokens)

    return await asyncio.gather(*(one(question) for question in questions))


async def measure(
    urls: dict[str, str], parts: list[Record], questions: list[str], rounds: int, max_tokens: int, in_flight: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Return, by path, the milliseconds of every request, and the CPU seconds of each part for all of them.

    Raises `RuntimeError` where the two did not write equally much.
    """
    times: dict[str, list[float]] = {path: [] for path in PATHS}
    spent = {path: dict.fromkeys([CLIENT, *(part.name for part in parts)], 0.0) for path in PATHS}
    tokens = dict.fromkeys(PATHS, 0)
    clients = {path: httpx.AsyncClient(base_url=url, timeout=LIMIT_S) for path, url in urls.items()}
    async with clients["vLLM"], clients["Mull"]:
        for path in PATHS:
            await round_of(clients[path], path, questions, max_tokens, in_flight)
        for number in range(rounds):
            for path in PATHS if number % 2 == 0 else reversed(PATHS):
                before = cpu_seconds(parts)
                found = await round_of(clients[path], path, questions, max_tokens, in_flight)
                after = cpu_seconds(parts)
                for part in spent[path]:
                    spent[path][part] += after[part] - before[part]
                times[path] += [milliseconds for milliseconds, _ in found]
                tokens[path] += sum(count for _, count in found)
    if tokens["vLLM"] != tokens["Mull"]:
        raise RuntimeError(f"the two wrote differently much: {tokens}")
    return times, spent


def cpu_seconds(parts: list[Record]) -> dict[str, float]:
    """Return the CPU time that each part of the stack, and this process, has taken so far."""
    taken = {CLIENT: time.process_time()}
    for part in parts:
        used = [psutil.Process(process.pid).cpu_times() for process in session(part.process)]
        taken[part.name] = sum(process.user + process.system for process in used)
    return taken


def main() -> None:
    """Measure and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--questions", type=int, default=64)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--max-tokens", type=int, default=128)
    options.add_argument("--in-flight", type=int, default=16)
    given = options.parse_args()
    stack = running_stack()
    urls = {"vLLM": stack.policy, "Mull": stack.gateway}
    state = StateDir(load_settings(None).state_dir).load()
    parts = [] if state is None else state.parts
    times, spent = asyncio.run(
        measure(urls, parts, held_out(given.questions), given.rounds, given.max_tokens, given.in_flight)
    )
    figures = {path: {"median": (cut := quantiles(times[path], n=100))[49], "p99": cut[98]} for path in PATHS}
    added = {name: figures["Mull"][name] - figures["vLLM"][name] for name in ("median", "p99")}
    count = len(times["Mull"])
    table = Table(title=f"Milliseconds of one greedy sample, {given.in_flight} in flight, {count} requests each")
    for column in ("asked", "median", "p99"):
        table.add_column(column, justify="left" if column == "asked" else "right")
    for name, row in {**figures, "added": added}.items():
        table.add_row(name, f"{row['median']:.1f}", f"{row['p99']:.1f}")
    Console().print(table)
    cpu = {path: {part: round(seconds / count * 1000, 2) for part, seconds in spent[path].items()} for path in PATHS}
    table = Table(title="CPU milliseconds per request")
    table.add_column("part")
    for path in PATHS:
        table.add_column(path, justify="right")
    for part in cpu["Mull"]:
        table.add_row(part, *(f"{cpu[path][part]:.1f}" for path in PATHS))
    Console().print(table)
    rounded = {name: {key: round(value, 2) for key, value in row.items()} for name, row in figures.items()}
    print(
        json.dumps(
            {
                "benchmark": "gateway_overhead",
                **hardware(),
                "in_flight": given.in_flight,
                "requests": count,
                "max_tokens": given.max_tokens,
                **rounded,
                "added": {key: round(value, 2) for key, value in added.items()},
                "cpu_ms": cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
