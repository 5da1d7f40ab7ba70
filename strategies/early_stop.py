"""When flat candidates can be cut without changing the winner, and how few are worth starting: exact arithmetic.

Sums of scores are kept as whole numbers of 2^-1074, of which every float is a multiple: they are exact in any order, so
no decision rests on a margin that rounding made.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

DECIDED = "decided"
"""Reason of a search in which early stopping cut candidates, or left them out: the winner could not change any more."""

_ONE = 1 << 1074
_NEVER = sys.maxsize
_IN_FLIGHT = 4
"""Streams of a best-of-N that saves: few enough that later ones are cut against earlier ones."""


def available(asked: str | None, *, economy: bool, hindrance: str | None) -> bool:
    """Return whether to stop early, which is done wherever possible unless the caller says "off".

    `hindrance` says why it is impossible, `None` if it is not; raises `ValueError` where it was asked for all the same.
    """
    if hindrance is None:
        return asked != "off"
    if economy or asked not in (None, "off"):
        option = "economy" if economy else f"early_stop {asked!r}"
        raise ValueError(f"{option} is impossible: {hindrance}; leave it out")
    return False


class Rule(Protocol):
    """Decides which candidates matter. They are known by their place in launch order, 0 to N - 1.

    All are pending at first, with a score of at most 1 and any answer.
    """

    @property
    def reason(self) -> str:
        """Why a search ends that this rule has cut short."""
        ...

    @property
    def counted(self) -> int:
        """How many candidates, from the first, take part in the outcome."""
        ...

    def pending(self, place: int, key: str | None, bound: float) -> None:
        """Note that a candidate's score is at most `bound`, in [0, 1]; `key` is its answer once it has ended."""
        ...

    def final(self, place: int, key: str | None, score: float | None) -> None:
        """Note a candidate's outcome; without an answer or without a score it has no part in the winner."""
        ...

    def cut(self) -> Iterable[int]:
        """Return places that cannot change the winner; those that are over already may be among them."""
        ...

    def wanted(self, launched: int, streams: int) -> int:
        """Return how many more to launch for economy, when the first `launched` have been and `streams` still grow.

        At least 1 where nothing is pending among the launched, candidates are left, and not all of them are `cut`.
        """
        ...


@dataclass(slots=True)
class _Tally:
    """One answer: the weight it was given, the first place that gave some, and what may still come from where."""

    weight: int = 0
    first: int = _NEVER
    bounds: dict[int, int] = field(default_factory=dict)
    pending: int = 0

    def earliest(self, newcomer: int) -> int:
        """Return the first place that may have voted for it in the end, `newcomer` among them."""
        return min(newcomer, self.first, *self.bounds) if self.bounds else min(newcomer, self.first)


class VoteRace:
    """A vote among `samples` candidates, each with a weight in [0, 1]; ties go to the answer with the earliest vote.

    Decided when the leader wins even if everything pending goes to one other answer, known or not. A candidate that has
    ended can only vote for its own. To save, the race starts no more than could decide it if all that is in flight
    voted for one answer: with equal weights ceil(N/2) at first, and more as soon as votes differ.
    """

    reason = DECIDED

    def __init__(self, samples: int) -> None:
        self.counted = samples
        self._open = dict.fromkeys(range(samples), _ONE)
        self._open_sum = samples * _ONE
        self._open_from = 0
        self._claims: dict[int, _Tally] = {}
        self._tallies: dict[str, _Tally] = {}
        self._leader: _Tally | None = None

    def pending(self, place: int, key: str | None, bound: float) -> None:
        """Lower what the candidate may add, and to which answer."""
        self._forget(place)
        most = _exact(bound)
        if key is None:
            self._open[place] = most
            self._open_sum += most
        else:
            tally = self._claims[place] = self._tallies.setdefault(key, _Tally())
            tally.bounds[place] = most
            tally.pending += most

    def final(self, place: int, key: str | None, score: float | None) -> None:
        """Count the vote, if it is one."""
        self._forget(place)
        if key is None or score is None:
            return
        tally = self._tallies.setdefault(key, _Tally())
        tally.weight += _exact(score)
        tally.first = min(tally.first, place)
        if self._leader is None or _order(tally) < _order(self._leader):
            self._leader = tally

    def cut(self) -> Iterable[int]:
        """Return all places once the vote is decided, none before."""
        return range(self.counted) if self.decided else ()

    @property
    def decided(self) -> bool:
        """Whether the winner is certain."""
        leader = self._leader
        if leader is None or leader.weight < self._open_sum:
            return False
        newcomer = self._first_open()
        return _wins(leader.weight, leader.first, self._open_sum, newcomer) and all(
            _wins(leader.weight, leader.first, rival.weight + rival.pending + self._open_sum, rival.earliest(newcomer))
            for rival in self._tallies.values()
            if rival is not leader
        )

    def wanted(self, launched: int, streams: int) -> int:
        """Return the fewest that could decide the vote if they and all that is pending went to one answer."""
        leader, tallies = self._leader, self._tallies.values()
        # Two can get there first: the leader against the second, and who has most to hope for against the leader.
        hopeful = min(tallies, key=lambda t: (-t.weight - t.pending, t.earliest(_NEVER)), default=_Tally())
        pairs = [] if hopeful is leader else [(hopeful, leader or _Tally())]
        if leader is not None:
            others = (t for t in tallies if t is not leader and t.first != _NEVER)
            pairs.append((leader, min(others, key=_order, default=_Tally())))
        fewest = min(self._fewest(tally, rival, launched) for tally, rival in pairs)
        # A margin too small for `decided` must not leave the search with nothing to wait for.
        waiting = self._first_open() < launched or bool(self._claims)
        return fewest if waiting else min(self.counted - launched, max(1, fewest))

    def _fewest(self, tally: _Tally, rival: _Tally, launched: int) -> int:
        rest = self.counted - launched
        weight = tally.weight + tally.pending + self._open_sum - rest * _ONE
        gap = rival.weight + rest * _ONE - weight
        for more in range(max(0, -(-gap // (2 * _ONE))), rest):
            joined = self._first_open() if self._first_open() < launched + more else _NEVER
            against = rival.weight + (rest - more) * _ONE
            if _wins(weight + more * _ONE, tally.earliest(joined), against, min(rival.first, launched + more)):
                return more
        return rest

    def _first_open(self) -> int:
        while self._open_from < self.counted and self._open_from not in self._open:
            self._open_from += 1
        return self._open_from

    def _forget(self, place: int) -> None:
        self._open_sum -= self._open.pop(place, 0)
        if (tally := self._claims.pop(place, None)) is not None:
            tally.pending -= tally.bounds.pop(place)


class ScoreRace:
    """The highest score among `samples` candidates, in [0, 1], wins; ties go to the earliest.

    A candidate is cut when its bound is below the best score, or equal to it and the candidate is later. That cannot
    decide the search as a whole before its time, so to save it starts few at once, and another when a stream ends.
    """

    reason = DECIDED

    def __init__(self, samples: int) -> None:
        self.counted = samples
        self._bounds = dict.fromkeys(range(samples), 1.0)
        self._best: tuple[float, int] | None = None
        self._lost: list[int] = []

    def pending(self, place: int, key: str | None, bound: float) -> None:
        """Lower the candidate's bound."""
        self._bounds[place] = bound
        self._compare((place,))

    def final(self, place: int, key: str | None, score: float | None) -> None:
        """Compare with the best so far, and the pending ones with a new best."""
        self._bounds.pop(place, None)
        if key is not None and score is not None and (self._best is None or (-score, place) < self._best):
            self._best = -score, place
            self._compare(self._bounds)

    def cut(self) -> Iterable[int]:
        """Return the places that have lost since the last call."""
        lost, self._lost = self._lost, []
        return lost

    def wanted(self, launched: int, streams: int) -> int:
        """Return how many are missing to the number in flight."""
        return max(0, min(_IN_FLIGHT - streams, self.counted - launched))

    def _compare(self, places: Iterable[int]) -> None:
        if self._best is None:
            return
        lost = [place for place in places if (-self._bounds[place], place) > self._best]
        for place in lost:
            del self._bounds[place]
        self._lost += lost


def _exact(value: float) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_ONE.bit_length() - denominator.bit_length())


def _order(tally: _Tally) -> tuple[int, int]:
    return -tally.weight, tally.first


def _wins(weight: int, first: int, against: int, first_against: int) -> bool:
    """Whether an answer's weight outdoes another's, ties included, when both have been rounded to floats.

    Rounding never turns an order round, but makes equal what differs by less than about one part in 2^52.
    """
    margin = weight - against
    return margin > weight >> 50 or (margin >= 0 and first < first_against)
