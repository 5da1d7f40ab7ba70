"""The tables of docs/metrics.md, made from the metrics that gateways and workers have.

`python tests/docs/metric_tables.py` writes them anew; a test compares them.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"

_PLACE = re.compile(r"(<!-- (gateway|workers) -->\n).*?(?=<!-- end -->)", re.DOTALL)

Row = tuple[str, str, str, str]
"""Name, kind, labels, meaning."""


def gateway_rows() -> Iterator[Row]:
    """Return the metrics of a gateway with keys, Redis and jobs."""
    from prometheus_client.metrics import MetricWrapperBase
    from pydantic import SecretStr

    from service.doors.doors import Doors
    from service.doors.metrics import DoorsCollector
    from service.jobs.metrics import JobsCollector
    from service.jobs.store import JobStore
    from service.metrics import Metrics
    from service.redis_link import RedisLink
    from service.redis_metrics import RedisCollector
    from service.settings_file import load_settings

    settings = load_settings(ROOT / "mull.yaml", {})
    redis = settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")})
    settings = settings.model_copy(update={"redis": redis})
    metrics, link = Metrics(), RedisLink(settings.redis)

    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            yield _row(metric._name, str(metric._type), metric._labelnames, metric._documentation)
    for collector in (DoorsCollector(Doors(settings, link)), JobsCollector(JobStore(settings)), RedisCollector(link)):
        for family in collector.collect():
            labels = getattr(family, "_labelnames", ())
            yield _row(family.name, family.type, labels, family.documentation)


def worker_rows() -> Iterator[Row]:
    """Return the metrics of a worker."""
    from service.meter import PREFIX
    from service.worker_metrics import METRICS

    for metric in METRICS:
        yield _row(f"{PREFIX}{metric.name}", metric.kind, metric.labels, metric.help)


def filled(page: str) -> str:
    """Return the page with its tables as they should be."""
    rows = {"gateway": gateway_rows, "workers": worker_rows}
    return _PLACE.sub(lambda found: found[1] + _table(rows[found[2]]()), page)


def _row(name: str, kind: str, labels: Iterable[str], meaning: str) -> Row:
    return f"{name}_total" if kind == "counter" else name, kind, ", ".join(f"`{label}`" for label in labels), meaning


def _table(rows: Iterable[Row]) -> str:
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {meaning} |" for name, kind, labels, meaning in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT)]
    PAGE.write_text(filled(PAGE.read_text()))
