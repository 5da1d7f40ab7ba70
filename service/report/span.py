"""The time that a report looks at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.errors import InvalidRequest

POINTS = 120
"""In a line, over the whole time."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")
_SCRAPES = 4
"""In the window of a rate, so that one that is missing does no harm."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end`, Unix times in seconds; `interval_s` lies between two scrapes."""

    start: float
    end: float
    interval_s: float

    @property
    def step(self) -> float:
        """Seconds from one point of a line to the next; never shorter than from one scrape to the next."""
        return max(self.interval_s, (self.end - self.start) / POINTS)

    @property
    def window(self) -> str:
        """What a rate is taken over: no scrape is left out, and several are in it."""
        return f"{round(max(_SCRAPES * self.interval_s, self.step + self.interval_s) * 1000)}ms"

    @property
    def whole(self) -> str:
        """All of it, as Prometheus writes durations."""
        return f"{round((self.end - self.start) * 1000)}ms"


def seconds(duration: str) -> float:
    """Return the seconds of `90s`, `15m`, `1h30m` or `2d`; raises `InvalidRequest`."""
    parts = _PART.findall(duration)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != duration or total <= 0:
        raise InvalidRequest(f"{duration!r} is no time.", hint="Say 90s, 15m, 1h or 2d.")
    return total
