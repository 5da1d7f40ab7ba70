"""Asks Prometheus everything that the panels want to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.panels.panel import Dashboard, Kind, Panel
from service.report.prometheus import Line, Prometheus
from service.report.span import Span


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a panel by its name, never empty; of a number or a bar it is a single point."""

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The latest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Filled:
    """A panel with what Prometheus knows about it."""

    panel: Panel
    series: tuple[Series, ...]


async def gather(
    prometheus: Prometheus, dashboards: Sequence[Dashboard], span: Span
) -> dict[Dashboard, tuple[Filled, ...]]:
    """Return all panels of all dashboards, filled; raises what `Prometheus` raises."""
    filled: dict[Dashboard, tuple[Filled, ...]] = {}
    for board in dashboards:
        # One after the other: a server that also watches everything else is not to notice us.
        filled[board] = tuple([Filled(panel, await series(prometheus, panel, span)) for panel in board.panels])
    return filled


async def series(prometheus: Prometheus, panel: Panel, span: Span) -> tuple[Series, ...]:
    """Return the series of one panel that have a value, the queries in their order, each by name."""
    found: list[Series] = []
    for query in panel.queries:
        promql = query.at(window=span.window, whole=span.whole)
        lines: list[Line]
        if panel.kind in (Kind.NUMBER, Kind.BARS):
            lines = await prometheus.values(promql, at=span.end)
        else:
            lines = await prometheus.lines(promql, start=span.start, end=span.end, step=span.step)
        named = [Series(query.name(dict(line.labels)), line.points) for line in lines if line.points]
        found += sorted(named, key=lambda one: one.name)
    return tuple(found)
