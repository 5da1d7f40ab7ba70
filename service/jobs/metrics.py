"""What Prometheus is told of the jobs that are not over."""

import asyncio
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.errors import JobsUnavailable
from service.jobs.store import JobStore

ASK_S = 0.5
"""How long Redis may take to count: a scrape has seconds, and other numbers to tell."""


class JobsCollector(Collector):
    """Tells how many jobs there were when `ask` was last awaited: nothing where Redis did not say."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._waiting: int | None = None
        self._running = 0

    async def ask(self) -> None:
        """Have Redis count."""
        self._waiting = None
        try:
            async with asyncio.timeout(ASK_S):
                self._waiting, self._running = await self._store.count()
        except (JobsUnavailable, TimeoutError):
            return

    def collect(self) -> Iterator[Metric]:
        """Give what was counted."""
        jobs = GaugeMetricFamily(
            "mull_jobs",
            "Jobs of all gateways: queued (until a gateway takes it up, or one whose gateway was lost), in_progress.",
            labels=["state"],
        )
        if self._waiting is not None:
            jobs.add_metric(["queued"], self._waiting)
            jobs.add_metric(["in_progress"], self._running)
        yield jobs
