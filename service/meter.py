"""What a metric is, and where workers put their numbers: Ray's own metrics, which a node's agent tells Prometheus."""

from dataclasses import dataclass
from typing import Literal, Protocol

from ray.util.metrics import Counter, Gauge, Histogram

PREFIX = "ray_"
"""What Ray puts in front of each name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its name in Prometheus, for a worker's without `PREFIX`, for a counter without `_total`.

    `buckets` are the upper bounds of a histogram's, without the last, which has none.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


class Meter(Protocol):
    """Takes numbers. Costs microseconds, waits for nobody; raises `ValueError` for labels that are not the metric's."""

    def add(self, counter: Metric, value: float, **labels: str) -> None:
        """Add to a counter; 0 makes it known."""
        ...

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Say how much there is now."""
        ...

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Put one more value into a histogram."""
        ...


class RayMeter:
    """`Meter` of a process of Ray's: it sends the numbers to its node's agent, every few seconds.

    Of a histogram's values the agent is told how many are in which bucket: their sum is an estimate from that.
    """

    def __init__(self) -> None:
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}

    def add(self, counter: Metric, value: float, **labels: str) -> None:
        """Add to a counter; 0 makes it known."""
        known = self._counters.get(counter)
        if known is None:
            known = self._counters[counter] = Counter(counter.name, counter.help, counter.labels)
        # `inc` refuses 0, and a counter that begins with its first event has no rate for that one.
        known._record(value, labels)

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        """Say how much there is now."""
        known = self._gauges.get(gauge)
        if known is None:
            known = self._gauges[gauge] = Gauge(gauge.name, gauge.help, gauge.labels)
        known.set(value, labels)

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        """Put one more value into a histogram."""
        known = self._histograms.get(histogram)
        if known is None:
            known = Histogram(histogram.name, histogram.help, list(histogram.buckets), histogram.labels)
            self._histograms[histogram] = known
        known.observe(value, labels)
