"""How a number of a unit is written for people."""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.panels.panel import Unit

_NICE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
_SECONDS = ((86_400.0, "d"), (3600.0, "h"), (120.0, "min"), (1.0, "s"), (0.001, "ms"), (0.000_001, "µs"))
_NOTHING = 1e-9
"""What is drawn as zero."""
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e4, "k"))


@dataclass(frozen=True, slots=True)
class Scale:
    """What numbers are divided by before they are written, and what is written behind them."""

    divisor: float
    suffix: str

    def write(self, value: float) -> str:
        """Return the number with three digits that count, and its suffix."""
        scaled = value / self.divisor
        text = f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
        return f"{text}{' ' if self.suffix else ''}{self.suffix}"


def scale(unit: Unit, largest: float) -> Scale:
    """Return how numbers up to `largest` are written."""
    if unit is Unit.SHARE:
        return Scale(0.01, "%")
    if unit is Unit.BYTES:
        return _first(_BYTES, largest) or Scale(1.0, "B")
    if unit is Unit.SECONDS:
        found = _first(_SECONDS, largest)
        # From two minutes on minutes are written, not multiples of two of them.
        return Scale(60.0, "min") if found is not None and found.suffix == "min" else found or Scale(1.0, "s")
    found = _first(_COUNTS, largest)
    return Scale(1e3, "k") if found is not None and found.suffix == "k" else found or Scale(1.0, "")


def written(unit: Unit, value: float) -> str:
    """Return one number by itself."""
    return scale(unit, abs(value)).write(value)


def top(unit: Unit, largest: float) -> float:
    """Return where an axis that starts at 0 ends: a round number of what is written, not below `largest`."""
    if unit is Unit.SHARE and largest > 0.5:
        return max(1.0, largest)
    if largest < _NOTHING:
        return 1.0
    divisor = scale(unit, largest).divisor
    scaled = largest / divisor
    power = 10.0 ** math.floor(math.log10(scaled))
    return divisor * power * next(nice for nice in _NICE if nice * power >= scaled * (1 - 1e-9))


def _first(steps: tuple[tuple[float, str], ...], largest: float) -> Scale | None:
    return next((Scale(divisor, suffix) for divisor, suffix in steps if largest >= divisor), None)
