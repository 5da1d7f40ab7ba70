"""Draws series as SVG: lines over time, lines on top of each other, bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from service.panels.panel import Unit
from service.report.gather import Series
from service.report.numbers import scale, top, written
from service.report.span import Span

WIDTH, HEIGHT = 420, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 8, 8, 22
_BAR, _BAR_LEFT, _BAR_RIGHT = 24, 130, 76
_TIMES = 4
_GAP = 2.5
"""A line is broken where more steps than this are missing."""
COLOURS = ("#2f6fb3", "#e07b39", "#3f9e6e", "#c0504d", "#8566b3", "#8a6d3b", "#d274a8", "#6b7785", "#b5a72f", "#36a7b5")

Points = Sequence[tuple[float, float]]


def colour(number: int) -> str:
    """Return the colour of a panel's series by its place."""
    return COLOURS[number % len(COLOURS)]


def lines(drawn: Sequence[Series], unit: Unit, span: Span, *, stacked: bool) -> str:
    """Return a chart of series over the whole time; `stacked`: each begins where the one before it ends."""
    layers = _stacked(drawn) if stacked else [(None, one.points) for one in drawn]
    highest = top(unit, max(value for _, upper in layers for _, value in upper))
    axes = _Axes(span, highest)
    parts = [*_grid(axes, unit), *_times(axes, span)]
    for number, (lower, upper) in enumerate(layers):
        for piece in _pieces(upper, span.step):
            path = " ".join(f"{axes.x(moment):.1f},{axes.y(value):.1f}" for moment, value in piece)
            if lower is not None:
                floor = [(moment, lower[moment]) for moment, _ in reversed(piece)]
                back = " ".join(f"{axes.x(moment):.1f},{axes.y(value):.1f}" for moment, value in floor)
                parts.append(f'<polygon points="{path} {back}" fill="{colour(number)}" fill-opacity="0.35"/>')
            if len(piece) == 1:
                (moment, value) = piece[0]
                at = f'cx="{axes.x(moment):.1f}" cy="{axes.y(value):.1f}"'
                parts.append(f'<circle {at} r="2" fill="{colour(number)}"/>')
            else:
                parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(number)}" stroke-width="1.6"/>')
    return _svg(HEIGHT, parts)


def bars(drawn: Sequence[Series], unit: Unit) -> str:
    """Return a bar for each series, the longest first."""
    ordered = sorted(drawn, key=lambda one: -one.last)
    longest = max(ordered[0].last, 1e-12)
    room = WIDTH - _BAR_LEFT - _BAR_RIGHT
    parts: list[str] = []
    for number, one in enumerate(ordered):
        middle = _TOP + number * _BAR + _BAR / 2
        length = max(1.0, room * one.last / longest)
        parts.append(f'<text x="{_BAR_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(one.name)}</text>')
        place = f'x="{_BAR_LEFT}" y="{middle - 7}" width="{length:.1f}" height="14"'
        parts.append(f'<rect {place} rx="2" fill="{colour(0)}"/>')
        told = escape(written(unit, one.last))
        parts.append(f'<text x="{_BAR_LEFT + length + 6:.1f}" y="{middle + 4}" class="value">{told}</text>')
    return _svg(2 * _TOP + len(ordered) * _BAR, parts)


class _Axes:
    """Where a moment and a value lie in the picture."""

    def __init__(self, span: Span, highest: float) -> None:
        self.highest = highest
        self._start, self._length = span.start, span.end - span.start

    def x(self, moment: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (moment - self._start) / self._length

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / self.highest


def _grid(axes: _Axes, unit: Unit) -> list[str]:
    written_as = scale(unit, axes.highest)
    parts: list[str] = []
    for value in (0.0, axes.highest / 2, axes.highest):
        y = axes.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        label = written_as.write(value)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    return parts


def _times(axes: _Axes, span: Span) -> list[str]:
    length = span.end - span.start
    form = "%H:%M:%S" if length < 600 else "%H:%M" if length <= 86_400 else "%d %b %H:%M"
    parts: list[str] = []
    for number in range(_TIMES + 1):
        moment = span.start + length * number / _TIMES
        anchor = "start" if number == 0 else "end" if number == _TIMES else "middle"
        text = datetime.fromtimestamp(moment, UTC).strftime(form)
        parts.append(f'<text x="{axes.x(moment):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
    return parts


def _stacked(drawn: Sequence[Series]) -> list[tuple[dict[float, float] | None, Points]]:
    """Return for each series what lies below it at each moment, and where it ends."""
    below = dict.fromkeys(sorted({moment for one in drawn for moment, _ in one.points}), 0.0)
    layers: list[tuple[dict[float, float] | None, Points]] = []
    for one in drawn:
        own = dict(one.points)
        above = {moment: value + own.get(moment, 0.0) for moment, value in below.items()}
        layers.append((below, list(above.items())))
        below = above
    return layers


def _pieces(points: Points, step: float) -> list[list[tuple[float, float]]]:
    """Return the points without a hole between them, piece by piece."""
    pieces: list[list[tuple[float, float]]] = []
    for point in points:
        if pieces and point[0] - pieces[-1][-1][0] <= _GAP * step:
            pieces[-1].append(point)
        else:
            pieces.append([point])
    return pieces


def _svg(height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
