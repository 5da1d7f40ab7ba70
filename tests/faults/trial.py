"""One fault under traffic: send, break, look, heal, and see that everything is as it was."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import httpx
from fault_catalogue import Fault
from faulty_stack import FaultyStack, gauge
from levels import Level, leaks, levels
from traffic import DIRECT, JOB, KINDS, OK, Seen, ask, body, follow

BEGUN_S = 8.0
"""Longest that the first search may take until its first candidates are being written."""
WRITING = 8
IDLE_S = 10.0
LOOK_S = 0.1
LEFT_S = 2.5
"""Longest that a client stays that is to leave."""
DEADLINE_S = 30.0
BACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault: requests, jobs, and the seconds from healing to the next answer."""

    fault: str
    direct: tuple[Seen, ...]
    jobs: tuple[Seen, ...]
    back_s: float
    faults: tuple[str, ...]
    """What is not as it must be; empty where all is well."""


class Trials:
    """Tries faults, one after the other, on one stack. The level of its processes is taken once, before the first."""

    def __init__(self, stack: FaultyStack, engines: Sequence[str]) -> None:
        """`engines` are the real ones' URLs, behind the proxies."""
        self._stack = stack
        self._engines = engines
        self._seeds = count(1)
        self._before: dict[str, Level] = {}

    async def warm_up(self) -> list[Seen]:
        """Ask once for everything without a fault, and take the level that must be found again."""
        async with aiohttp.ClientSession() as http:
            seen = await asyncio.gather(
                *(self._ask(http, kind, gateway, DEADLINE_S) for kind in KINDS for gateway in (0, 1))
            )
            jobs = await self._follow(http, [one for one in seen if one.job])
        await self.idle()
        self._before = levels(self._stack.processes())
        return [*seen, *jobs]

    async def of(self, fault: Fault) -> Outcome:
        """Try one fault."""
        if not self._before:
            await self.warm_up()
        async with aiohttp.ClientSession() as http:
            if not fault.mid_search:
                await asyncio.to_thread(fault.inject, self._stack)
            asking = [
                asyncio.create_task(self._ask(http, kind, number % 2, fault.deadline_s))
                for number, kind in enumerate(KINDS)
            ]
            try:
                if fault.mid_search:
                    await self._under_way(asking)
                    await asyncio.to_thread(fault.inject, self._stack)
                await asyncio.wait(asking, timeout=fault.hold_s)
            finally:
                await asyncio.to_thread(fault.heal, self._stack)
            seen = await asyncio.gather(*asking)
            back_s = await self.back(http, fault.back_within_s)
            too_late = [late(one) for one in seen if one.late]
            direct = tuple(one for one in seen if one.kind != JOB)
            refused = [one for one in seen if one.kind == JOB and one.job is None]
            jobs = (*refused, *await self._follow(http, [one for one in seen if one.job]))
        faults = [*too_late, *_judged(fault, direct, jobs), *await self.idle()]
        if back_s > fault.back_within_s:
            faults.append(f"no answer within {fault.back_within_s:g} s after healing")
        return Outcome(fault.name, direct, jobs, back_s, tuple(faults))

    async def twins(self, samples: int) -> tuple[list[tuple[Mapping[str, str], dict[str, Any]]], int]:
        """Ask both gateways for the same at once; return headers and bodies, and how many samples were drawn."""
        path, sent = body("plain", next(self._seeds), DEADLINE_S, samples)
        before = self._stack.policy.begun

        async def post(url: str) -> tuple[Mapping[str, str], dict[str, Any]]:
            async with http.post(url + path, json=sent) as reply:
                return reply.headers, await reply.json()

        async with aiohttp.ClientSession() as http:
            said = await asyncio.gather(*(post(url) for url in self._stack.gateways))
        return said, self._stack.policy.begun - before

    async def deserted(self, clients: int, seed: int) -> Outcome:
        """Send requests whose clients close their connection at a random moment."""
        moments = random.Random(seed)

        async def leave(number: int) -> None:
            kind = DIRECT[number % len(DIRECT)]
            path, sent = body(kind, next(self._seeds), DEADLINE_S)
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(moments.uniform(0, LEFT_S)),
                    http.post(self._stack.gateways[number % 2] + path, json=sent) as reply,
                ):
                    await reply.read()

        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(leave(number) for number in range(clients)))
            left = await self.idle()
            back_s = await self.back(http, IDLE_S)
        return Outcome(f"{clients} clients leave", (), (), back_s, tuple(left))

    async def idle(self) -> list[str]:
        """Wait until nothing is left of what was asked; return what is left after `IDLE_S` seconds."""
        due = time.monotonic() + IDLE_S
        while left := await asyncio.to_thread(self._left):
            if time.monotonic() > due:
                return left
            await asyncio.sleep(LOOK_S)
        return []

    def _left(self) -> list[str]:
        left = []
        for url in self._engines:
            try:
                if running := gauge(url, "vllm:num_requests_running{", "vllm:num_requests_waiting{"):
                    left.append(f"{url} works on {running:g} requests")
            except httpx.HTTPError as error:
                left.append(f"{url} does not answer: {error!r}")
        try:
            if searches := self._stack.in_flight():
                left.append(f"the gateways wait for {searches:g} searches")
            if without := [url for url in self._stack.gateways if not gauge(url, "mull_redis_up ")]:
                left.append(f"{', '.join(without)} go without Redis")
        except httpx.HTTPError as error:
            left.append(f"a gateway does not answer: {error!r}")
        return left + leaks(self._before, levels(self._stack.processes()))

    async def _ask(self, http: aiohttp.ClientSession, kind: str, gateway: int, deadline_s: float) -> Seen:
        return await ask(http, self._stack.gateways[gateway], gateway, kind, next(self._seeds), deadline_s)

    async def _follow(self, http: aiohttp.ClientSession, accepted: Sequence[Seen]) -> list[Seen]:
        return await asyncio.gather(*(follow(http, self._stack.gateways, one) for one in accepted))

    async def _under_way(self, asking: Sequence["asyncio.Task[Seen]"]) -> None:
        """Return when searches are being written, or have all ended."""
        due = time.monotonic() + BEGUN_S
        while self._stack.policy.writing < WRITING and not all(task.done() for task in asking):
            assert time.monotonic() < due, "no search has begun"
            await asyncio.sleep(LOOK_S / 10)

    async def back(self, http: aiohttp.ClientSession, within_s: float) -> float:
        """Return the seconds until nothing is missing, and both gateways search and score."""
        begun = time.monotonic()
        waiting = [(gateway, kind) for gateway in (0, 1) for kind in ("brief", "score")]
        while waiting and time.monotonic() - begun <= within_s:
            gateway, kind = waiting[0]
            if self._stack.is_whole() and (await self._ask(http, kind, gateway, BACK_S)).outcome == OK:
                waiting.pop(0)
            else:
                await asyncio.sleep(LOOK_S)
        return time.monotonic() - begun


def late(one: Seen) -> str:
    """Return that a request ended too late, in words."""
    return f"{one.kind} ended after {one.seconds:.2f} s, its deadline was {one.deadline_s:g} s"


def _judged(fault: Fault, direct: Sequence[Seen], jobs: Sequence[Seen]) -> list[str]:
    """Return what requests and jobs came to that they must not come to."""
    faults = []
    for one in direct:
        if one.outcome not in fault.allowed(one):
            faults.append(f"{one.kind} came to {one.outcome!r} (status {one.status})")
    for one in jobs:
        refused = one.job is None and one.outcome in fault.direct
        if one.outcome not in fault.jobs and not refused:
            faults.append(f"a job came to {one.outcome!r}")
    return faults + [f"{one.kind}: {one.wrong}" for one in (*direct, *jobs) if one.wrong]
