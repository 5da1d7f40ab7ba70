"""How long a cancellation takes, from its cause to the engine's silence.

    make serve && .venv/bin/python -m benchmarks.cancellation --rounds 40

Causes: the client goes; the deadline strikes; for a vote that is decided early, the moment of its answer. *Issued* is
the time until the order to abort has reached the policy's server, seen by a proxy in front of it; *idle* the time until
that server's own gauges show no request running or waiting. Beside it: a client that closes its own connections to the
bare vLLM server, streams of the same number and length. A second gateway with a search worker is started for the
measurement, on the running stack's engines, with the proxy in between.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.running_stack import RunningStack, hardware, held_out, running_stack
from service.stack.ports import free_ports

STREAMS = 16
ABORT = b"POST /inference/v1/abort_requests"
GAUGES = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")


class Proxy:
    """Passes bytes on to the policy's server and notes when orders to abort come by."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.removeprefix("http://").partition(":")
        self._port = int(port)
        self.aborts: list[float] = []

    async def serve(self, port: int) -> asyncio.Server:
        """Listen on `port`."""
        return await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(self._pass(reader, up_writer, watch=True), self._pass(up_reader, writer, watch=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, watch: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if watch and ABORT in data:
                    self.aborts.append(time.perf_counter())
                writer.write(data)
                await writer.drain()
        writer.close()


async def idle_at(http: httpx.AsyncClient, policy: str) -> float:
    """Ask the server's gauges until they show nothing, and return when that was."""
    while True:
        text = (await http.get(f"{policy}/metrics")).text
        if sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(GAUGES)) == 0:
            return time.perf_counter()


async def bare(http: httpx.AsyncClient, stack: RunningStack, question: str, wait_s: float, _: int) -> float:
    """Close connections to vLLM itself while it writes; return when."""
    asked = {"model": "tiny-policy", "prompt": question, "max_tokens": 300, "ignore_eos": True, "stream": True}

    async def read() -> None:
        async with http.stream("POST", f"{stack.policy}/v1/completions", json=asked) as response:
            async for _ in response.aiter_bytes():
                pass

    streams = [asyncio.create_task(read()) for _ in range(STREAMS)]
    await asyncio.sleep(wait_s)
    cause = time.perf_counter()
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    return cause


def body(question: str, seed: int, **mull: Any) -> dict[str, Any]:
    """A search of `STREAMS` candidates."""
    strategy = {"name": "majority_vote", "samples": STREAMS, "early_stop": "off"}
    return {
        "model": "tiny-policy",
        "messages": [{"role": "user", "content": question}],
        "seed": seed,
        "mull": {"strategy": strategy, **mull},
    }


async def gone(http: httpx.AsyncClient, gateway: str, question: str, wait_s: float, seed: int) -> float:
    """Leave the gateway while it searches; return when."""
    asked = asyncio.create_task(http.post(f"{gateway}/v1/chat/completions", json=body(question, seed), timeout=60))
    await asyncio.sleep(wait_s)
    cause = time.perf_counter()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    return cause


async def deadline(http: httpx.AsyncClient, gateway: str, question: str, wait_s: float, seed: int) -> float:
    """Give a search `wait_s`; return when its deadline was."""
    asked = body(question, seed, budget={"deadline_ms": int(wait_s * 1000)})
    begun = time.perf_counter()
    await http.post(f"{gateway}/v1/chat/completions", json=asked, timeout=60)
    return begun + int(wait_s * 1000) / 1000


async def decided(http: httpx.AsyncClient, gateway: str, question: str, _: float, seed: int) -> float:
    """Have a vote stop early; return when its answer came, by when the engine is to be idle."""
    asked = body(question, seed, budget={"parallel": 12})
    asked["mull"]["strategy"]["early_stop"] = "exact"
    await http.post(f"{gateway}/v1/chat/completions", json=asked, timeout=60)
    return time.perf_counter()


async def main() -> None:
    """Measure and print a table and one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=40)
    rounds = options.parse_args().rounds
    stack, rng, questions = running_stack(), random.Random(0), held_out(rounds)
    ports = free_ports()
    proxy, port = Proxy(stack.policy), next(ports)
    server = await proxy.serve(port)
    with tempfile.TemporaryDirectory() as state:
        environment = os.environ | {"MULL_STATE_DIR": state, "MULL_GATEWAY__PORT": str(next(ports))}
        gateway = f"http://127.0.0.1:{environment['MULL_GATEWAY__PORT']}"
        mull = [sys.executable, "-m", "service.cli"]
        front = ["serve", "--policy-url", f"http://127.0.0.1:{port}", "--reward-url", stack.reward, "--detach"]
        started = await asyncio.create_subprocess_exec(*mull, *front, env=environment, stdout=subprocess.DEVNULL)
        try:
            if await started.wait() != 0:
                raise SystemExit("the second gateway did not start")
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http:
                outcome = await _measure(http, stack, gateway, proxy, questions, rng)
        finally:
            await (await asyncio.create_subprocess_exec(*mull, "down", env=environment)).wait()
            server.close()
    _show(outcome)
    print(json.dumps({"benchmark": "cancellation", **hardware(), "rounds": rounds, "streams": STREAMS, **outcome}))


Cause = Callable[[httpx.AsyncClient, Any, str, float, int], Awaitable[float]]


async def _measure(
    http: httpx.AsyncClient,
    stack: RunningStack,
    gateway: str,
    proxy: Proxy,
    questions: Sequence[str],
    rng: random.Random,
) -> dict[str, dict[str, float]]:
    causes: list[tuple[str, Cause, Any]] = [
        ("bare vLLM, connection closed", bare, stack),
        ("client gone", gone, gateway),
        ("deadline", deadline, gateway),
        ("answer given, vote decided early", decided, gateway),
    ]
    idle: dict[str, list[float]] = {name: [] for name, _, _ in causes}
    issued: dict[str, list[float]] = {name: [] for name, _, _ in causes}
    await http.post(f"{gateway}/v1/chat/completions", json=body(questions[0], 0), timeout=60)
    for seed, question in enumerate(questions, 1):
        for name, cause, target in causes:
            proxy.aborts.clear()
            begun = await cause(http, target, question, rng.uniform(0.2, 0.6), seed)
            idle[name].append(await idle_at(http, stack.policy) - begun)
            if proxy.aborts and cause is not decided:
                issued[name].append(proxy.aborts[0] - begun)
            await asyncio.sleep(0.05)
    return {name: _quantiles(idle[name], "idle") | _quantiles(issued[name], "issued") for name in idle}


def _quantiles(seconds: list[float], what: str) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    at = {
        "p50": len(ordered) // 2,
        "p90": int(0.9 * len(ordered)),
        "p99": min(len(ordered) - 1, round(0.99 * len(ordered))),
        "max": -1,
    }
    return {f"{what}_ms_{name}": round(ordered[place] * 1000, 1) for name, place in at.items()}


def _show(outcome: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"Milliseconds from the cause, {STREAMS} streams")
    columns = ("issued_ms_p50", "issued_ms_p90", "issued_ms_p99", "idle_ms_p50", "idle_ms_p90", "idle_ms_p99")
    for column in ("cause", *columns):
        table.add_column(column.replace("_ms_", " "), justify="left" if column == "cause" else "right")
    for name, figures in outcome.items():
        table.add_row(name, *(f"{figures[column]:.0f}" if column in figures else "" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())
