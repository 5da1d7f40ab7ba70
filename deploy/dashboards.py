"""Writes Grafana's dashboards from the catalogue of panels: `python -m deploy.dashboards`.

The files in deploy/grafana/dashboards are made by this and not by hand; a test makes them again.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

from service.panels.catalogue import DASHBOARDS
from service.panels.panel import Dashboard, Kind, Panel, Section, Unit

FOLDER = Path("deploy/grafana/dashboards")
WINDOW, WHOLE = "$__rate_interval", "$__range"
UNITS = {
    Unit.COUNT: "short",
    Unit.SECONDS: "s",
    Unit.BYTES: "bytes",
    Unit.SHARE: "percentunit",
    Unit.TOKENS: "si: tokens",
    Unit.MONEY: "short",
    Unit.REQUESTS_PER_S: "reqps",
    Unit.TOKENS_PER_S: "si: tokens/s",
    Unit.NODES_PER_S: "si: nodes/s",
    Unit.SCORES_PER_S: "si: scores/s",
    Unit.MONEY_PER_S: "suffix: per s",
    Unit.CORES: "suffix: cores",
}
_SOURCE = DataSourceRef("prometheus", "${source}")
_WIDTH, _MOST_IN_A_ROW = 24, 3
_NUMBER_WIDTH, _NUMBER_HEIGHT, _HEIGHT = 6, 4, 8
_Builder = timeseries.Panel | stat.Panel | bargauge.Panel


def main() -> None:
    """Write one file for each dashboard."""
    for board in DASHBOARDS:
        (FOLDER / f"{board.name}.json").write_text(as_json(board))


def as_json(board: Dashboard) -> str:
    """Return what Grafana reads."""
    page = (
        grafana.Dashboard(board.title)
        .uid(board.name)
        .description(board.about)
        .tags(["mull"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(grafana.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    ids = count(1)
    for section in board.sections:
        page.with_row(grafana.Row(section.title).id(next(ids)))
        for panel, width in _laid_out(section):
            page.with_panel(_drawn(panel, width).id(next(ids)))
    return JSONEncoder(indent=1, ensure_ascii=False).encode(page.build()) + "\n"


def _laid_out(section: Section) -> Iterator[tuple[Panel, int]]:
    """Yield each panel with its width, so that rows are full; numbers are narrow and stand by themselves."""
    numbers = [panel for panel in section.panels if panel.kind is Kind.NUMBER]
    for panel in numbers:
        yield panel, _NUMBER_WIDTH
    drawn = [panel for panel in section.panels if panel.kind is not Kind.NUMBER]
    rows = -(-len(drawn) // _MOST_IN_A_ROW)
    for row in range(rows):
        of_row = drawn[row * len(drawn) // rows : (row + 1) * len(drawn) // rows]
        for panel in of_row:
            yield panel, _WIDTH // len(of_row)


def _drawn(panel: Panel, width: int) -> _Builder:
    about = panel.good if panel.only is None else f"{panel.good} Needs {panel.only}."
    drawn = _of_kind(panel.kind).title(panel.title).description(about).unit(UNITS[panel.unit])
    drawn.span(width).height(_NUMBER_HEIGHT if panel.kind is Kind.NUMBER else _HEIGHT).datasource(_SOURCE)
    if panel.unit is Unit.SHARE:
        drawn.min(0).max(1)
    elif panel.kind is not Kind.NUMBER:
        drawn.min(0)
    for letter, query in zip(ascii_uppercase, panel.queries, strict=False):
        asked = (
            Dataquery()
            .ref_id(letter)
            .expr(query.at(window=WINDOW, whole=WHOLE))
            .legend_format(query.legend)
            .datasource(_SOURCE)
        )
        drawn.with_target(asked.range() if isinstance(drawn, timeseries.Panel) else asked.instant())
    return drawn


def _of_kind(kind: Kind) -> _Builder:
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    if kind is Kind.NUMBER:
        return stat.Panel().reduce_options(last).color_mode(BigValueColorMode.NONE).graph_mode(BigValueGraphMode.NONE)
    if kind is Kind.BARS:
        return bargauge.Panel().reduce_options(last).orientation(VizOrientation.HORIZONTAL)
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    drawn = (
        timeseries.Panel()
        .legend(legend.placement(LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .fill_opacity(40 if kind is Kind.STACKED else 8)
    )
    if kind is Kind.STACKED:
        drawn.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return drawn


if __name__ == "__main__":
    main()
