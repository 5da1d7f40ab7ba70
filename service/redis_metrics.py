"""What Prometheus is told of the way to Redis."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.redis_link import RedisLink


class RedisCollector(Collector):
    """Reads a link when it is asked; there is nothing to read of one that is off."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    def collect(self) -> Iterator[Metric]:
        """Give the state, and what got no answer."""
        if self._link.state == "off":
            return
        yield GaugeMetricFamily(
            "mull_redis_up", "1 while Redis answers, 0 while requests go on without it.", self._link.state == "on"
        )
        unanswered = CounterMetricFamily(
            "mull_redis_unanswered",
            "Commands without an answer: down (Redis is left alone), spent (the request has waited long enough), "
            "timeout (Redis took too long), lost (the connection broke), refused (Redis answered with an error).",
            labels=["why"],
        )
        for why, count in self._link.unanswered.items():
            unanswered.add_metric([why], count)
        yield unanswered
