"""The catalogue of panels: what can be said about it without any metric being there."""

import re

import pytest
from dimensions import dimension, fits, metrics

from service.metrics import Metrics
from service.panels.catalogue import DASHBOARDS
from service.panels.panel import Dashboard, Kind, Panel, Query, Unit

PANELS = [(board, panel) for board in DASHBOARDS for panel in board.panels]
EACH = pytest.mark.parametrize(("board", "panel"), PANELS, ids=[f"{b.name}-{p.title}" for b, p in PANELS])
PREFIXES = ("mull_", "ray_mull_", "vllm:", "process_")


@EACH
def test_every_query_has_its_panel_s_unit(board: Dashboard, panel: Panel) -> None:
    """By the suffixes of its metrics, and by what is divided by what."""
    assert [query.promql for query in panel.queries if not fits(panel.unit, query.promql)] == []


@EACH
def test_a_panel_reads_metrics_of_ours_or_of_vllm(board: Dashboard, panel: Panel) -> None:
    """Nothing that only some Prometheus has, such as rules that were not loaded."""
    for query in panel.queries:
        assert metrics(query.promql)
        assert all(name.startswith(PREFIXES) for name in metrics(query.promql))


@EACH
def test_legends_name_what_tells_series_apart(board: Dashboard, panel: Panel) -> None:
    """Each label of a legend is one that the query keeps."""
    for query in panel.queries:
        for label in query.labels:
            assert f"by ({label}" in query.promql or f", {label}" in query.promql


@EACH
def test_only_numbers_and_bars_look_at_the_whole_time(board: Dashboard, panel: Panel) -> None:
    """A line is a rate over a window; a number is what happened in all."""
    whole = panel.kind in (Kind.NUMBER, Kind.BARS)
    for query in panel.queries:
        assert ("$range" in query.promql) <= whole
        assert not (whole and "$window" in query.promql)


async def test_money_is_told_apart_as_the_panels_want_it() -> None:
    """No stack of the tests has prices: what a gateway would tell of them is looked at here."""
    told = Metrics()
    told.paid("best_of_n", "tiny", {"policy": 0.25})
    sample = re.search(rb"^mull_cost_total\{(.*)\} 0.25$", await told.exposition(), re.MULTILINE)
    assert sample is not None
    has = set(re.findall(rb"(\w+)=", sample[1]))
    asked = {
        label for _, panel in PANELS for query in panel.queries if "mull_cost" in query.promql for label in query.labels
    }
    assert {label.encode() for label in asked} == has


def test_titles_are_different_within_a_section() -> None:
    """A reader can point at a panel."""
    for board in DASHBOARDS:
        for section in board.sections:
            titles = [panel.title for panel in section.panels]
            assert len(titles) == len(set(titles))


def test_a_series_is_named_by_its_labels() -> None:
    """Labels that a series does not have are left out; one without any has a name all the same."""
    query = Query("sum by (job, instance) (up)", "{{job}} {{instance}}")
    assert query.name({"job": "policy", "instance": "p:1"}) == "policy p:1"
    assert query.name({"job": "policy"}) == "policy"
    assert query.name({}) == "none"


@pytest.mark.parametrize(
    ("unit", "promql"),
    [
        (Unit.SECONDS, "rate(mull_requests_total[1m])"),
        (Unit.TOKENS_PER_S, "sum(rate(mull_requests_total[1m]))"),
        (Unit.TOKENS_PER_S, "increase(mull_policy_tokens_total[1m])"),
        (Unit.SHARE, "sum(rate(mull_policy_tokens_total[1m])) / sum(rate(mull_requests_total[1m]))"),
        (Unit.COUNT, "process_resident_memory_bytes"),
        (Unit.BYTES, "histogram_quantile(0.5, rate(mull_request_duration_seconds_bucket[1m]))"),
    ],
)
def test_a_wrong_unit_is_seen(unit: Unit, promql: str) -> None:
    """The check above can fail."""
    assert not fits(unit, promql)


def test_what_cannot_be_added_is_seen() -> None:
    """Seconds and bytes have no sum."""
    with pytest.raises(ValueError, match="no one unit"):
        dimension("process_resident_memory_bytes + process_start_time_seconds")


def test_names_of_metrics_are_told_from_everything_else() -> None:
    """Functions, labels, strings, durations and keywords are no metrics."""
    promql = 'sum by (le, job) (rate(a_total{x="b_total", y=~"c"}[5m])) or 0 * vllm:d offset 1d / on (job) (e)'
    assert metrics(promql) == {"a_total", "vllm:d", "e"}
