"""A panel: one question about the running service, and the PromQL that answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_LABEL = re.compile(r"\{\{(\w+)\}\}")


class Unit(StrEnum):
    """What a number is; base units, as Prometheus has them."""

    COUNT = "count"
    SECONDS = "s"
    BYTES = "bytes"
    SHARE = "share"
    """0 to 1, shown as per cent."""
    TOKENS = "tokens"
    MONEY = "money"
    """In the currency of the configuration's prices."""
    REQUESTS_PER_S = "requests/s"
    TOKENS_PER_S = "tokens/s"
    NODES_PER_S = "nodes/s"
    SCORES_PER_S = "scores/s"
    MONEY_PER_S = "money/s"
    CORES = "cores"
    """Seconds of processor time per second."""


class Kind(StrEnum):
    """How a panel is drawn."""

    LINES = "lines"
    STACKED = "stacked"
    """Lines on top of each other: parts of a whole."""
    NUMBER = "number"
    """One number for the whole time that is looked at."""
    BARS = "bars"
    """One number of each series for the whole time that is looked at."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and the name of what it returns.

    `promql` may hold `$window`, over which a rate is taken, and in numbers and bars `$range`, the whole time that is
    looked at. `legend` names each series: `{{label}}` stands for the value of a label.
    """

    promql: str
    legend: str

    def at(self, *, window: str, whole: str = "$range") -> str:
        """Return the query with Prometheus' durations, or Grafana's names for them, in place of ours."""
        return self.promql.replace("$window", window).replace("$range", whole)

    @property
    def labels(self) -> frozenset[str]:
        """The labels that tell its series apart."""
        return frozenset(_LABEL.findall(self.legend))

    def name(self, labels: dict[str, str]) -> str:
        """Return what a series with these labels is called."""
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend).strip() or "none"


@dataclass(frozen=True, slots=True)
class Panel:
    """Some queries in one unit. `good` tells a reader what to expect, and what to think of anything else.

    `only` says what has to be there, or to have happened, for it to show anything; `None`: any traffic will do.
    """

    title: str
    unit: Unit
    queries: tuple[Query, ...]
    good: str
    kind: Kind = Kind.LINES
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Panels that are read together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page. `name` is that of its file, and its address in Grafana."""

    name: str
    title: str
    about: str
    sections: tuple[Section, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of them, in order."""
        return tuple(panel for section in self.sections for panel in section.panels)
