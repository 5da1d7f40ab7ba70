"""Searches over HTTP, many at once, with what they took: time, CPU of each part, and work of Redis."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any, Literal

import httpx
from redis import Redis

from benchmarks.parts import cpu_between, taken
from benchmarks.running_stack import RunningStack, counters
from service.stack.state import Record

Memory = Literal["use", "none"]
LIMIT_S = 300.0
WRITTEN, READ = "generation_tokens_total", "prompt_tokens_total"


@dataclass(frozen=True, slots=True)
class Search:
    """One request: a question, how it is searched, its seed, and whether what earlier ones left may be used."""

    question: str
    strategy: dict[str, Any]
    seed: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Took:
    """What a number of requests took together; `words` counts the answers by their header `x-mull-cache`.

    `remembered` are scores that other searches had asked for. `cpu` in seconds by part; of Redis the commands that it
    has run, its own time for them in seconds, and by how many bytes it has grown, buffers of connections left out.
    """

    seconds: float
    words: Counter[str]
    remembered: int
    policy_tokens: int
    reward_tokens: int
    cpu: dict[str, float]
    redis_commands: int
    redis_seconds: float
    redis_bytes: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where the running stack answers, and what it consists of."""

    stack: RunningStack
    parts: Sequence[Record]
    redis: Redis


async def took(places: Places, searches: Sequence[Search], *, in_flight: int) -> Took:
    """Ask all of them, `in_flight` at a time, and return when each is answered; raises `httpx.HTTPStatusError`."""
    gate, words, remembered = asyncio.Semaphore(in_flight), Counter[str](), 0

    async def one(http: httpx.AsyncClient, search: Search) -> None:
        nonlocal remembered
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": search.question}],
            "seed": search.seed,
            "mull": {"strategy": search.strategy, "budget": {"deadline_ms": int(LIMIT_S * 1000)}},
        }
        headers = {"cache-control": "no-store"} if search.memory == "none" else {}
        async with gate:
            response = await http.post("/v1/chat/completions", json=body, headers=headers)
        response.raise_for_status()
        words[response.headers["x-mull-cache"]] += 1
        remembered += response.json()["mull"]["usage"]["reward"]["remembered"]

    tokens, redis, cpu = _tokens(places.stack), _redis(places.redis), taken(places.parts)
    async with httpx.AsyncClient(base_url=places.stack.gateway, timeout=LIMIT_S, limits=_NO_LIMITS) as http:
        begun = time.perf_counter()
        await asyncio.gather(*(one(http, search) for search in searches))
        seconds = time.perf_counter() - begun
    spent = cpu_between(cpu, taken(places.parts))
    commands, busy, size = (b - a for a, b in zip(redis, _redis(places.redis), strict=True))
    policy, reward = (b - a for a, b in zip(tokens, _tokens(places.stack), strict=True))
    return Took(seconds, words, remembered, policy, reward, spent, int(commands), busy, int(size))


def spread(ratios: Sequence[float]) -> dict[str, Any]:
    """Return the geometric mean of a ratio over the rounds, its least and its largest value."""
    mean = geometric_mean(ratios)
    return {"ratio": round(mean, 3), "least": round(min(ratios), 3), "most": round(max(ratios), 3)}


_NO_LIMITS = httpx.Limits(max_connections=None)


def _tokens(stack: RunningStack) -> tuple[int, int]:
    return int(counters(stack.policy, WRITTEN)[WRITTEN]), int(counters(stack.reward, READ)[READ])


def _redis(redis: Redis) -> tuple[float, float, float]:
    """Return the commands so far, the seconds they took, and the bytes in use; asking for it does not count."""
    stats: dict[str, Any] = redis.info("commandstats")
    others = [stat for name, stat in stats.items() if not name.startswith(("cmdstat_info", "cmdstat_client"))]
    memory: dict[str, Any] = redis.info("memory")
    calls, microseconds = sum(stat["calls"] for stat in others), sum(stat["usec"] for stat in others)
    return calls, microseconds / 1e6, memory["used_memory"] - memory["mem_clients_normal"]
