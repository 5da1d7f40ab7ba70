"""Puts all panels on one HTML page that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from service.panels.panel import Dashboard, Kind, Panel, Unit
from service.report.chart import bars, colour, lines
from service.report.gather import Filled, Series
from service.report.numbers import written
from service.report.span import Span

_MOST_NAMES = 10
"""In a legend; what is drawn beyond is counted."""
_STYLE = """
body { margin: 0; background: #f4f5f7; color: #22262b; font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; }
header, main { max-width: 1380px; margin: 0 auto; padding: 16px 24px; }
header { padding-bottom: 0; }
h1 { font-size: 24px; margin: 8px 0 2px; }
h2 { font-size: 20px; margin: 28px 0 0; border-bottom: 2px solid #cfd4da; padding-bottom: 4px; }
h3 { font-size: 14px; margin: 18px 0 8px; color: #5a646e; text-transform: uppercase; letter-spacing: .04em; }
.muted, .good { color: #5a646e; }
.grid-of-panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 12px; }
.grid-of-numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 12px; }
.panel { background: #fff; border: 1px solid #dde1e6; border-radius: 6px; padding: 10px 14px; }
.panel h4 { margin: 0 0 4px; font-size: 14px; }
.panel h4 span { color: #5a646e; font-weight: normal; }
.number { font-size: 28px; font-weight: 600; margin: 2px 0; }
.good { font-size: 12px; margin: 6px 0 0; }
.empty { color: #5a646e; font-style: italic; margin: 6px 0; }
ul { list-style: none; margin: 4px 0 0; padding: 0; font-size: 12px; display: flex; flex-wrap: wrap; gap: 2px 14px; }
li i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 5px; }
li b { font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: #5a646e; }
svg text.value { fill: #22262b; }
svg .grid { stroke: #e4e8ec; stroke-width: 1; }
@media print { body { background: #fff; } .panel { break-inside: avoid; } }
"""


def page(filled: Mapping[Dashboard, Sequence[Filled]], span: Span, *, since: str, source: str) -> str:
    """Return the page. `since` says how long was looked back, and `source` where; times are in UTC."""
    end = datetime.fromtimestamp(span.end, UTC)
    told = f"The {since} before {end:%Y-%m-%d %H:%M:%S} UTC, from Prometheus at {source}"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Mull: report</title>',
        f"<style>{_STYLE}</style></head><body>",
        f'<header><h1>Mull</h1><div class="muted">{escape(told)}</div></header><main>',
    ]
    for board, panels in filled.items():
        parts.append(f'<h2>{escape(board.title)}</h2><div class="muted">{escape(board.about)}</div>')
        by_panel = {one.panel: one for one in panels}
        for section in board.sections:
            parts.append(f"<h3>{escape(section.title)}</h3>")
            numbers = [panel for panel in section.panels if panel.kind is Kind.NUMBER]
            drawn = [panel for panel in section.panels if panel.kind is not Kind.NUMBER]
            for name, group in (("numbers", numbers), ("panels", drawn)):
                if group:
                    cards = "".join(_card(by_panel[panel], span) for panel in group)
                    parts.append(f'<div class="grid-of-{name}">{cards}</div>')
    parts.append("</main></body></html>\n")
    return "".join(parts)


def _card(filled: Filled, span: Span) -> str:
    panel = filled.panel
    unit = "" if panel.kind is Kind.NUMBER or panel.unit in _TOLD_BY_ITSELF else f" <span>{panel.unit}</span>"
    good = f'<p class="good">{escape(panel.good)}</p>'
    return f'<div class="panel"><h4>{escape(panel.title)}{unit}</h4>{_content(filled, span)}{good}</div>'


_TOLD_BY_ITSELF = (Unit.SECONDS, Unit.BYTES, Unit.SHARE, Unit.COUNT)


def _content(filled: Filled, span: Span) -> str:
    panel, drawn = filled.panel, filled.series
    if not drawn:
        return f'<p class="empty">{_nothing(panel)}</p>'
    if panel.kind is Kind.NUMBER:
        unit = f" {panel.unit}" if panel.unit is Unit.TOKENS else ""
        return f'<p class="number">{escape(written(panel.unit, drawn[0].last))}{unit}</p>'
    if panel.kind is Kind.BARS:
        return bars(drawn, panel.unit)
    return lines(drawn, panel.unit, span, stacked=panel.kind is Kind.STACKED) + _legend(drawn, panel.unit)


def _nothing(panel: Panel) -> str:
    return "Nothing in this time." if panel.only is None else f"Nothing in this time; it needs {escape(panel.only)}."


def _legend(drawn: Sequence[Series], unit: Unit) -> str:
    items: list[str] = []
    for number, one in enumerate(drawn[:_MOST_NAMES]):
        named = f"{escape(one.name)} <b>{escape(written(unit, one.last))}</b>"
        items.append(f'<li><i style="background:{colour(number)}"></i>{named}</li>')
    if len(drawn) > _MOST_NAMES:
        items.append(f"<li>and {len(drawn) - _MOST_NAMES} more</li>")
    return f"<ul>{''.join(items)}</ul>"
