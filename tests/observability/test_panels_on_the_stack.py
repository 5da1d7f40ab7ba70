"""Every panel and every alert, asked of a real Prometheus that watches the real stack under mixed traffic."""

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dimensions import metrics
from mixed_traffic import STRATEGIES, Traffic
from prometheus_server import PrometheusServer
from test_rules import COMPARISON, alerts

from service.panels.catalogue import DASHBOARDS
from service.panels.panel import Panel, Query, Unit
from service.report.targets import targets

pytestmark = pytest.mark.stack

SEEN_S = 30.0
"""Ray's agents hear only every few seconds of what the workers count."""
NOT_HERE = {"prices in the configuration"}
"""What a panel may need and the tiny pair does not have."""
PANELS = [(board.name, panel) for board in DASHBOARDS for panel in board.panels]
EACH = pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{name}-{panel.title}" for name, panel in PANELS])
_GROWTH = re.compile(r"(?:rate|increase)\(([\w:]+)")


@dataclass(frozen=True, slots=True)
class Watch:
    """A Prometheus that has seen two rounds of traffic; what is counted for the first time has no rate yet.

    Panels are asked of the time since `quiet` (seconds since 1970), before the second round. Where a series begins
    within the window, Prometheus reckons its growth on to where it was zero, a sum's not quite as its count's: their
    quotient, a mean of numbers up to 1, can be 1.02.
    """

    server: PrometheusServer
    quiet: float

    def show(self, query: Query) -> list[tuple[dict[str, str], float]]:
        """Return what a panel shows: labels and values."""
        window = f"{round((time.time() - self.quiet) * 1000)}ms"
        return self.server.vector(query.at(window=window, whole=window))


@pytest.fixture(scope="module")
def watch(stack: Any, prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Prometheus, when it has seen what was done last in either round."""
    watched = {job: addresses[0] for job, addresses in targets(stack.state).items()}
    server = PrometheusServer(prometheus_binary, tmp_path_factory.mktemp("prometheus"), watched)
    traffic = Traffic(stack.gateway_url)
    try:
        server.start()
        server.wait_for(f"sum(up) == {len(watched)}", SEEN_S)
        for _ in range(2):
            quiet = time.time()
            server.wait_for(f"min(timestamp(up)) > {quiet}", SEEN_S)
            began = time.time()
            traffic.round()
            # Both counted after what the round did last.
            for counter in ("mull_requests_total", "ray_mull_stopped_total"):
                grown = f"sum({counter}) > (sum({counter} @ {began}) or vector(0))"
                server.wait_for(grown, SEEN_S)
            server.wait_for(f"min(timestamp(up)) > {time.time()}", SEEN_S)
        yield Watch(server, quiet)
    finally:
        traffic.close()
        server.stop()


@pytest.fixture(scope="module")
def prometheus(watch: Watch) -> PrometheusServer:
    """The server alone."""
    return watch.server


@pytest.fixture(scope="module")
def known(prometheus: PrometheusServer) -> set[str]:
    """The names of all metrics, those that were told of and have no series yet included."""
    told = prometheus.ask("metadata")
    return {*prometheus.ask("label/__name__/values"), *told, *(f"{name}_total" for name in told)}


@EACH
def test_a_panel_names_metrics_that_exist(board: str, panel: Panel, known: set[str]) -> None:
    """A metric that was renamed leaves no panel behind."""
    for query in panel.queries:
        assert metrics(query.promql) - known == set()


@EACH
def test_a_panel_takes_the_growth_of_counters_and_of_nothing_else(
    board: str, panel: Panel, prometheus: PrometheusServer
) -> None:
    """Of a gauge a rate means nothing, and of a counter its value does not."""
    told = prometheus.ask("metadata")
    for query in panel.queries:
        for name in metrics(query.promql):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            kind = next(told[one][0]["type"] for one in (name, base, name.removesuffix("_total")) if one in told)
            assert (name in _GROWTH.findall(query.promql)) == (kind in ("counter", "histogram")), (name, kind)


@EACH
def test_a_panel_shows_what_happened(board: str, panel: Panel, watch: Watch) -> None:
    """Series with the labels that the legend names, and finite numbers that the unit allows."""
    found: list[float] = []
    for query in panel.queries:
        for labels, value in watch.show(query):
            assert set(labels) in (set(query.labels), set()), (query.promql, labels)
            found.append(value)
    finite = [value for value in found if math.isfinite(value)]
    assert finite or panel.only in NOT_HERE
    assert all(value >= 0 for value in finite)
    assert panel.unit is not Unit.SHARE or all(value <= 1.0001 for value in finite)


def test_every_strategy_is_seen(watch: Watch) -> None:
    """What is told apart by strategy has one series for each that was asked for."""
    here = [panel for _, panel in PANELS if panel.only not in NOT_HERE]
    searches = [query for panel in here for query in panel.queries if "mull_request_duration_seconds" in query.promql]
    by_strategy = [query for query in searches if query.labels == {"strategy"}]
    assert by_strategy
    for query in by_strategy:
        assert set(STRATEGIES) <= _values(watch, query, "strategy"), query.promql


def test_both_engines_are_seen(watch: Watch) -> None:
    """Policy and reward model each have a series wherever engines are told apart."""
    by_job = [query for _, panel in PANELS for query in panel.queries if "job" in query.labels]
    assert by_job
    for query in by_job:
        assert {"policy", "reward"} <= _values(watch, query, "job"), query.promql


def _values(watch: Watch, query: Query, label: str) -> set[str]:
    return {labels.get(label, "") for labels, _ in watch.show(query)}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_looks_at_something(alert: dict[str, Any], prometheus: PrometheusServer, known: set[str]) -> None:
    """The value that it compares is there, and is a number, while nothing is wrong."""
    assert metrics(alert["expr"]) - known == set()
    # A stack of a minute has no yesterday.
    value = COMPARISON.sub("", alert["expr"]).replace(" offset 1d", "")
    now = prometheus.vector(value)
    assert now
    assert all(math.isfinite(number) for _, number in now)


def test_rules_are_worked_out_and_nothing_is_alerted(prometheus: PrometheusServer) -> None:
    """Prometheus has no complaint about a rule, and a healthy stack alerts nobody."""
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def test_the_report_shows_every_panel(
    prometheus: PrometheusServer, stack: Any, run_mull: Callable[..., str], tmp_path: Path
) -> None:
    """`mull report` draws what Grafana would, and leaves out only what this stack cannot have."""
    page = tmp_path / "report.html"
    since = ("report", "--since", "5m", "--prometheus", prometheus.url, "--out", str(page))
    said = run_mull(*since, environment=stack.environment)
    without = sum(panel.only in NOT_HERE for _, panel in PANELS)
    assert said.strip() == f"{page}: {len(PANELS)} panels, {without} of them without anything to show"
    assert page.read_text().count("<svg") == sum(panel.kind != "number" for _, panel in PANELS) - without
