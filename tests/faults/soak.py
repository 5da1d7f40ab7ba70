"""Mixed load for a long while, with faults that come at random; everything is drawn from one seed."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass

import aiohttp
from fault_catalogue import ANSWERED, FAULTS
from faulty_stack import FaultyStack
from traffic import GONE, JOB, KINDS, OK, Seen, ask, follow
from trial import Trials, late

CLIENTS = 6
FIRST_SEED = 10_000
DEADLINE_S = 15.0
HOLD_S = (0.5, 6.0)
REST_S = (3.0, 12.0)
BACK_S = 200.0
SETTLED_S = 3.0
"""After the first answer that follows a fault: what was begun later must be answered."""

COMMITTED = frozenset({OK, "incomplete", "server_error"})
"""What a job may come to that met one fault after the other: after four attempts it has failed."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a soak saw: `faults` by how often they came; `wrong` is empty where all went as it must.

    `longest_outage_s`: the longest time from the healing of a fault to the next answer.
    """

    seconds: float
    direct: tuple[Seen, ...]
    jobs: tuple[Seen, ...]
    faults: Counter[str]
    longest_outage_s: float
    wrong: tuple[str, ...]


class Soak:
    """Six clients that ask one question after the other of either gateway, and one fault after the other."""

    def __init__(self, stack: FaultyStack, trials: Trials, seed: int) -> None:
        self._stack = stack
        self._trials = trials
        self._random = random.Random(seed)
        self._seeds = iter(range(FIRST_SEED, 99_999))
        self._seen: list[Seen] = []
        self._faults: Counter[str] = Counter()
        self._troubled: list[tuple[float, float]] = []
        self._following: list[asyncio.Task[Seen]] = []
        self._longest_outage_s = 0.0
        self._wrong: list[str] = []

    async def run(self, minutes: float) -> Soaked:
        """Soak for so long, then see that everything is as before."""
        begun = time.monotonic()
        until = begun + 60 * minutes
        async with aiohttp.ClientSession() as http:
            clients = [asyncio.create_task(self._client(http, until)) for _ in range(CLIENTS)]
            await self._faults_until(http, until)
            await asyncio.gather(*clients)
            jobs = await asyncio.gather(*self._following)
        allowed = frozenset().union(*(fault.direct for fault in FAULTS))
        of_jobs = COMMITTED | {GONE} if self._faults["Redis restarted empty"] else COMMITTED
        direct = tuple(one for one in self._seen if one.kind != JOB)
        self._wrong += [f"{one.kind} came to {one.outcome!r}" for one in self._seen if one.outcome not in allowed]
        self._wrong += [f"{one.kind} came to {one.outcome!r} in peace" for one in self._seen if self._calm(one)]
        self._wrong += [f"a job came to {one.outcome!r}" for one in jobs if one.outcome not in of_jobs]
        self._wrong += [late(one) for one in self._seen if one.late]
        self._wrong += [f"{one.kind}: {one.wrong}" for one in (*self._seen, *jobs) if one.wrong]
        self._wrong += await self._trials.idle()
        seconds = time.monotonic() - begun
        return Soaked(seconds, direct, tuple(jobs), self._faults, self._longest_outage_s, tuple(self._wrong))

    async def _client(self, http: aiohttp.ClientSession, until: float) -> None:
        while time.monotonic() < until:
            kind, gateway = self._random.choice(KINDS), self._random.randrange(2)
            samples = self._random.choice((2, 4, 8))
            url = self._stack.gateways[gateway]
            seen = await ask(http, url, gateway, kind, next(self._seeds), DEADLINE_S, samples)
            self._seen.append(seen)
            if seen.job:
                self._following.append(asyncio.create_task(follow(http, self._stack.gateways, seen)))
            if seen.outcome not in ANSWERED:
                await asyncio.sleep(1)  # as a client would that is told to come back

    async def _faults_until(self, http: aiohttp.ClientSession, until: float) -> None:
        while time.monotonic() + REST_S[1] < until:
            await asyncio.sleep(self._random.uniform(*REST_S))
            fault = self._random.choice(FAULTS)
            self._faults[fault.name] += 1
            begun = time.monotonic()
            try:
                await asyncio.to_thread(fault.inject, self._stack)
                await asyncio.sleep(self._random.uniform(*HOLD_S))
            finally:
                await asyncio.to_thread(fault.heal, self._stack)
            back_s = await self._trials.back(http, BACK_S)
            self._longest_outage_s = max(self._longest_outage_s, back_s)
            if back_s > BACK_S:
                self._wrong.append(f"no answer within {BACK_S:g} s after {fault.name}")
            self._troubled.append((begun, time.monotonic() + SETTLED_S))

    def _calm(self, one: Seen) -> bool:
        """Whether a request failed that met no fault on its way."""
        ended = one.begun + one.seconds
        met = any(begun <= ended and one.begun <= over for begun, over in self._troubled)
        return one.outcome not in ANSWERED and not met
