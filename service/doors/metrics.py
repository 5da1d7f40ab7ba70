"""What Prometheus is told of the way in: what waits and runs, in tokens, and what was refused."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.doors.doors import Doors


class DoorsCollector(Collector):
    """Reads the doors when it is asked."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def collect(self) -> Iterator[Metric]:
        """Give tokens admitted and waiting, their limits, and the refusals."""
        admission = self._doors.admission
        tokens = GaugeMetricFamily(
            "mull_admission_tokens",
            "Tokens that admitted searches may still use (in_flight), and those of searches that wait for their turn.",
            labels=["state"],
        )
        limits = GaugeMetricFamily(
            "mull_admission_limit_tokens", "Most that mull_admission_tokens may be, by the settings.", labels=["state"]
        )
        for state, now, most in (
            ("in_flight", admission.in_flight, admission.bound),
            ("waiting", admission.waiting, admission.room),
        ):
            tokens.add_metric([state], now)
            limits.add_metric([state], most)
        refused = CounterMetricFamily(
            "mull_admission_refused",
            "Requests that were not let in: full (too much waits), late (its turn did not come in time), quota (its "
            "key has used up what it may use for now).",
            labels=["reason"],
        )
        for reason, count in self._doors.refused.items():
            refused.add_metric([reason], count)
        yield from (tokens, limits, refused)
