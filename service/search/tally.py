"""What a search did, read off its records as they are made: for those who count, after its end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

from service.search.trace import Grown, Record, Stopped, Told, Wished
from strategies.protocol import Cancel, Cancelled, Ended, Path, Paused, Refused, Sample, Scored, Step


@dataclass(slots=True)
class Tally:
    """Counts one search, whose records `saw` is called with, in order. A node is one stream that a strategy asks for.

    `expansions`: nodes asked for. `width`: most of them that were written, or next in line, at once. `reason`: why the
    search stopped; `None` where it was broken off. `scoring_waits`: seconds from each step's end to its score.
    """

    expansions: int = 0
    width: int = 0
    reason: str | None = None
    scoring_waits: list[float] = field(default_factory=list)
    _open: set[Path] = field(default_factory=set)
    _stopped: set[Path] = field(default_factory=set)
    _whole: set[Path] = field(default_factory=set)
    _written: dict[Path, int] = field(default_factory=dict)
    _steps: dict[Path, int] = field(default_factory=dict)
    _unscored: dict[tuple[Path, int], float] = field(default_factory=dict)

    def saw(self, record: Record) -> None:
        """Take a record in."""
        match record:
            case Wished(_, Sample(node)):
                self.expansions += 1
                self._open.add(node)
                self.width = max(self.width, len(self._open))
            case Wished(_, Cancel(node)) if node in self._open:
                self._stopped.add(node)
            case Told(at, Step(node, index)):
                self._steps[node] = index + 1
                self._unscored[node, index] = at
            case Told(at, Scored(node, first, scores)):
                self.scoring_waits += self._waited(node, first, len(scores), at)
            case Told(_, Ended(node) | Paused(node)):
                self._whole.add(node)
                self._open.discard(node)
                self._stopped.discard(node)
            case Told(_, Cancelled(node) | Refused(node, "sample")):
                self._open.discard(node)
            case Grown(_, node, bill=bill):
                self._written[node] = self._written.get(node, 0) + bill.generated
            case Stopped(_, reason):
                self.reason = reason

    @property
    def depth(self) -> int:
        """Steps from the question to the end of the longest path."""
        return max((self._depth(node) for node in self._steps), default=0)

    @property
    def saved(self) -> int:
        """Policy tokens that stopping streams has saved, as an estimate.

        Had they gone on, they would have become as long as those that were written to their end are on average.
        """
        whole = [self._written.get(node, 0) for node in self._whole]
        if not whole:
            return 0
        mean = fmean(whole)
        return round(sum(max(0.0, mean - self._written.get(node, 0)) for node in self._stopped))

    def _depth(self, node: Path) -> int:
        return sum(self._steps.get(node[:end], 0) for end in range(1, len(node) + 1))

    def _waited(self, node: Path, first: int, count: int, at: float) -> Iterator[float]:
        for index in range(first, first + count):
            ended = self._unscored.pop((node, index), None)
            if ended is not None:
                yield at - ended
