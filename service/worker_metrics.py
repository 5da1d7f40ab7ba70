"""What the search workers tell Prometheus: of each search, and of each server of their engines."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.engines.fleet import Fleet
from service.engines.outcome import OUTCOMES
from service.errors import InvalidRequest
from service.meter import Meter, Metric
from service.search.tally import Tally

_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_WAITS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SEARCH = ("strategy",)
_SERVER = ("role", "engine", "replica")

DEPTH = Metric("histogram", "mull_search_depth", "Steps on the longest path of a search.", _SEARCH, _COUNTS)
WIDTH = Metric(
    "histogram",
    "mull_search_width",
    "Most nodes of a search that were written, or next in line, at once.",
    _SEARCH,
    _COUNTS,
)
EXPANSIONS = Metric("counter", "mull_search_expansions", "Nodes that searches have asked the policy for.", _SEARCH)
STOPPED = Metric(
    "counter",
    "mull_stopped",
    "Searches that ended: completed, decided or decided_beta (nothing could change the winner any more), "
    "policy_tokens, reward_tokens or deadline (that budget ran out), refused (the request was at fault), failed, "
    "cancelled (nobody waited any more).",
    ("strategy", "reason"),
)
SAVED = Metric(
    "counter",
    "mull_early_stop_saved_tokens",
    "Policy tokens not written since a search stopped streams. A low estimate: each would have become as long as "
    "those of the same search that were written to their end are on average, and those still at work are longer.",
    _SEARCH,
)
SCORING_WAIT = Metric(
    "histogram", "mull_scoring_wait_seconds", "Seconds from the end of a step to its score.", _SEARCH, _WAITS_S
)
ENGINE_REQUESTS = Metric(
    "counter",
    "mull_engine_requests",
    "Requests to an engine's server that are over: ok, failed (a fault of the server's), refused (a fault of the "
    "request's), left (given up: cancelled, or its time was over).",
    (*_SERVER, "outcome"),
)
ENGINE_IN_FLIGHT = Metric(
    "gauge", "mull_engine_in_flight", "Requests that a worker has in flight to a server.", _SERVER
)
BREAKER_OPEN = Metric(
    "gauge", "mull_engine_breaker_open", "1 while a worker leaves a server alone, since it fails; else 0.", _SERVER
)
RETRIED = Metric(
    "counter",
    "mull_engine_retried",
    "Requests that were given out again, after a server had failed.",
    ("role", "engine"),
)
SPILLED = Metric(
    "counter",
    "mull_engine_spilled",
    "Requests that went past the server that holds most of their prompt, since it had too much to do.",
    ("role", "engine"),
)
METRICS = (
    DEPTH,
    WIDTH,
    EXPANSIONS,
    STOPPED,
    SAVED,
    SCORING_WAIT,
    ENGINE_REQUESTS,
    ENGINE_IN_FLIGHT,
    BREAKER_OPEN,
    RETRIED,
    SPILLED,
)
"""All that a worker tells."""

PACE_S = 1.0
"""Shortest time between two looks at the engines."""


class WorkerMetrics:
    """The numbers of one worker. `engines`: its fleets by role (policy, reward) and name."""

    def __init__(self, meter: Meter, engines: Mapping[tuple[str, str], Fleet]) -> None:
        self._meter = meter
        self._engines = engines
        self._told: dict[tuple[Metric, tuple[str, ...]], int] = {}
        self._due = 0.0
        self.look()

    @contextmanager
    def search(self, strategy: str) -> Iterator[Tally]:
        """Count the search that is made within the context: its records are shown to what this gives."""
        tally = Tally()
        broken_off = "failed"
        try:
            yield tally
        except InvalidRequest:
            broken_off = "refused"
            raise
        except asyncio.CancelledError:
            broken_off = "cancelled"
            raise
        finally:
            self._ended(strategy, tally, tally.reason or broken_off)
            self.look()

    def look(self) -> None:
        """Tell how the engines do, unless that was told a moment ago."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + PACE_S
        for (role, name), fleet in self._engines.items():
            self._count(RETRIED, fleet.retried, role=role, engine=name)
            self._count(SPILLED, fleet.spilled, role=role, engine=name)
            for replica in fleet.replicas:
                server = {"role": role, "engine": name, "replica": replica.address}
                self._meter.set(ENGINE_IN_FLIGHT, replica.load, **server)
                self._meter.set(BREAKER_OPEN, not replica.breaker.lets_in, **server)
                for outcome in OUTCOMES:
                    self._count(ENGINE_REQUESTS, replica.over[outcome], **server, outcome=outcome)

    def _ended(self, strategy: str, tally: Tally, reason: str) -> None:
        meter = self._meter
        meter.add(STOPPED, 1, strategy=strategy, reason=reason)
        meter.add(EXPANSIONS, tally.expansions, strategy=strategy)
        meter.add(SAVED, tally.saved, strategy=strategy)
        if tally.expansions:
            meter.observe(DEPTH, tally.depth, strategy=strategy)
            meter.observe(WIDTH, tally.width, strategy=strategy)
        for seconds in tally.scoring_waits:
            meter.observe(SCORING_WAIT, seconds, strategy=strategy)

    def _count(self, counter: Metric, total: int, **labels: str) -> None:
        """Tell what a count that others keep has grown by; of a new one also that it is there."""
        key = counter, tuple(labels.values())
        told = self._told.get(key)
        if told is None or total > told:
            self._meter.add(counter, total - (told or 0), **labels)
            self._told[key] = total
