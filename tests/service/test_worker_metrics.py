"""What a worker tells of its searches and its engines, taken down instead of sent."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from service import worker_metrics
from service.engines.fleet import Fleet
from service.errors import EngineUnavailable, QuestionTooLong
from service.meter import Metric
from service.search.trace import Stopped, Told, Wished
from service.settings import PolicySettings, RewardSettings, Settings
from service.worker import SearchWorker
from service.worker_metrics import METRICS, WorkerMetrics
from strategies.protocol import Sample, Scored, Step


class Notes:
    """`Meter` that keeps what it is told, by name and labels; histograms as lists."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = defaultdict(float)
        self.levels: dict[tuple[str, ...], float] = {}
        self.values: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def add(self, counter: Metric, value: float, **labels: str) -> None:
        assert value >= 0
        self.counts[_key("counter", counter, labels)] += value

    def set(self, gauge: Metric, value: float, **labels: str) -> None:
        self.levels[_key("gauge", gauge, labels)] = value

    def observe(self, histogram: Metric, value: float, **labels: str) -> None:
        self.values[_key("histogram", histogram, labels)].append(value)


def _key(kind: str, metric: Metric, labels: dict[str, str]) -> tuple[str, ...]:
    assert (metric.kind, set(metric.labels)) == (kind, set(labels))
    return (metric.name, *(labels[name] for name in metric.labels))


@pytest.fixture
def notes() -> Notes:
    """An empty meter."""
    return Notes()


@pytest.fixture
def fleet() -> Fleet:
    """A policy of two servers, which nobody asks."""
    return Fleet(PolicySettings.model_validate({"model": "m", "url": ["http://u:p@10.0.0.1:8000", "http://10.0.0.2"]}))


def test_search_is_counted_when_it_is_over(notes: Notes) -> None:
    """Its shape, its waits and its end, under its strategy."""
    with WorkerMetrics(notes, {}).search("sample") as tally:
        for record in (
            Wished(0.0, Sample((0,))),
            Told(1.0, Step((0,), 0, "a")),
            Told(1.5, Scored((0,), 0, (0.5,))),
            Stopped(2.0, "completed"),
        ):
            tally.saw(record)
        assert notes.counts == {}
    assert notes.counts[("mull_stopped", "sample", "completed")] == 1
    assert notes.counts[("mull_search_expansions", "sample")] == 1
    assert notes.counts[("mull_early_stop_saved_tokens", "sample")] == 0
    assert notes.values[("mull_search_depth", "sample")] == notes.values[("mull_search_width", "sample")] == [1]
    assert notes.values[("mull_scoring_wait_seconds", "sample")] == [0.5]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineUnavailable("Gone."), "failed"),
        (QuestionTooLong("Too long."), "refused"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_search_that_is_broken_off_is_counted_too(notes: Notes, error: BaseException, reason: str) -> None:
    """As what broke it off; one that never asked for anything has no shape."""
    with pytest.raises(type(error)), WorkerMetrics(notes, {}).search("sample"):
        raise error
    assert notes.counts[("mull_stopped", "sample", reason)] == 1
    assert notes.values == {}


def test_engines_are_known_from_the_start(notes: Notes, fleet: Fleet) -> None:
    """Every count of every server begins at 0, under host and port alone."""
    WorkerMetrics(notes, {("policy", "p"): fleet})
    for server in ("10.0.0.1:8000", "10.0.0.2:80"):
        assert notes.levels["mull_engine_in_flight", "policy", "p", server] == 0
        assert notes.levels["mull_engine_breaker_open", "policy", "p", server] == 0
        for outcome in ("ok", "failed", "refused", "left"):
            assert notes.counts["mull_engine_requests", "policy", "p", server, outcome] == 0
    assert notes.counts["mull_engine_retried", "policy", "p"] == 0
    assert notes.counts["mull_engine_spilled", "policy", "p"] == 0


async def test_engines_are_looked_at_again(notes: Notes, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts grow by what has been added; levels are as they are now."""
    monkeypatch.setattr(worker_metrics, "PACE_S", 0.0)
    metrics = WorkerMetrics(notes, {("policy", "p"): fleet})
    first = fleet.replicas[0]
    for more in (2, 3):
        first.over["ok"] += more
        metrics.look()
    first.load = 4
    first.breaker.trip(EngineUnavailable("Gone."))
    metrics.look()
    await first.breaker.aclose()
    server = ("policy", "p", first.address)
    assert notes.counts["mull_engine_requests", *server, "ok"] == 5
    assert notes.levels["mull_engine_in_flight", *server] == 4
    assert notes.levels["mull_engine_breaker_open", *server] == 1


def test_engines_are_not_looked_at_all_the_time(notes: Notes, fleet: Fleet) -> None:
    """However many searches end in a second."""
    metrics = WorkerMetrics(notes, {("policy", "p"): fleet})
    fleet.replicas[0].over["ok"] += 1
    metrics.look()
    assert sum(notes.counts.values()) == 0


def test_worker_counts_by_its_engines() -> None:
    """It has a fleet for each of its engines, under the role that it plays."""
    notes = Notes()
    parts: dict[str, Any] = {
        "policies": {"p": PolicySettings.model_validate({"model": "m", "url": "http://10.0.0.1:1"})},
        "reward_models": {"r": RewardSettings.model_validate({"model": "n", "url": "http://10.0.0.1:2"})},
        "models": {"tiny": {"policy": "p", "reward": "r"}},
        "redis": {"enabled": False},
    }
    SearchWorker(Settings.model_validate(parts), notes)
    assert {key[1:] for key in notes.levels if key[0] == "mull_engine_in_flight"} == {
        ("policy", "p", "10.0.0.1:1"),
        ("reward", "r", "10.0.0.1:2"),
    }


def test_names_and_labels_are_prometheus_own() -> None:
    """Base units, no `_total` (Ray adds it), labels in lower case, buckets that rise."""
    for metric in METRICS:
        assert metric.name.startswith("mull_")
        assert not metric.name.endswith("_total")
        assert metric.kind != "histogram" or list(metric.buckets) == sorted(set(metric.buckets))
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert all(label.islower() for label in metric.labels)
