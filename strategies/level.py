"""Levels of a beam search: what is kept of each, how early that is certain, and what it costs."""

from collections.abc import Collection
from dataclasses import dataclass, field

from strategies.cost import Cost, Lengths, cost_of_candidates
from strategies.lookahead import Lookahead
from strategies.protocol import Path
from strategies.spec import ScoreSpec
from strategies.tree import Node, Said, merge, said

MOST_SAMPLES = 1024
"""The most that one level samples."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One distinct node with its value in [0, 1]; so many samples wrote it."""

    path: Path
    value: float
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Pending:
    """One sample whose value is to come, and is at most `bound`; that is no less than any known sibling's value."""

    path: Path
    bound: float


def keep(known: Collection[Standing], pending: Collection[Pending], places: int) -> list[tuple[Standing, int]] | None:
    """Return the nodes that are kept, best first, with how many of the `places` each one holds; ties go by path.

    A node holds as many places as it has samples, or as are left. `None` while something pending could change that: by
    a better value, or by being a kept node's duplicate, which its value must then equal.
    """
    ahead = min(((-one.bound, one.path) for one in pending), default=None)
    if ahead is not None and sum(one.samples for one in known if (-one.value, one.path) < ahead) < places:
        return None
    kept: list[tuple[Standing, int]] = []
    tied: set[Path] = set()
    worst = 1.0
    for one in sorted(known, key=lambda one: (-one.value, one.path)):
        if places == 0:
            break
        held = min(one.samples, places)
        places -= held
        kept.append((one, held))
        if one.value < worst:
            worst, tied = one.value, set()
        tied.add(one.path[:-1])
    if any(one.bound >= worst and one.path[:-1] in tied for one in pending):
        return None
    return kept


def cost_of_levels(width: int, lookahead: int, lengths: Lengths) -> Cost:
    """Return the cost of `width` steps at each depth, and of `lookahead` more below each, or of as many as are left."""
    sampled = cost_of_candidates(width, lengths, scored=True)
    depths = range(1, lengths.steps + 1)
    ahead = [depth + k for depth in depths for k in range(1, lookahead + 1) if depth + k <= lengths.steps]
    submitted = sum(lengths.prompt + depth * lengths.step for depth in ahead)
    return Cost(sampled.policy_tokens + width * len(ahead) * lengths.step, sampled.reward_tokens + width * submitted)


@dataclass(slots=True)
class _Level:
    """The current level of one subtree."""

    pending: dict[Path, Pending] = field(default_factory=dict)
    standing: dict[Said, Standing] = field(default_factory=dict)


class LevelSearch(Lookahead):
    """`subtrees` searches that do not know each other, each of which keeps `beams` of the steps at each level.

    From the question, `beams` times `expansions` steps are sampled, later `expansions` for each place that an
    unfinished node holds. Finished nodes hold their places until better ones take them, and are never extended. A level
    ends as soon as what is kept of it is certain; what is pending then is cancelled. So what is kept does not depend on
    the order in which things arrive. A subtree ends when all that it keeps is finished.
    """

    def __init__(self, score: ScoreSpec, *, subtrees: int, beams: int, expansions: int, lookahead: int) -> None:
        super().__init__(score, width=beams * expansions, lookahead=lookahead)
        self._beams = beams
        self._expansions = expansions
        self._levels = [_Level() for _ in range(subtrees)]

    def _start(self) -> None:
        for level in self._levels:
            self._extend(level, self.root, self._beams)

    def _told(self, child: Node) -> None:
        level = self._levels[self._subtree(child)]
        if child.path not in level.pending:
            # It shared a lookahead with one that ended the level.
            return
        judge = self._judge(child)
        if not judge.settled:
            level.pending[child.path] = Pending(child.path, judge.bound(self._how))
        else:
            del level.pending[child.path]
            self._enter(level, child)
        kept = keep(level.standing.values(), level.pending.values(), self._beams)
        if kept is not None:
            self._commit(level, kept)

    def _enter(self, level: _Level, child: Node) -> None:
        """Let `child` compete, if it has a value."""
        if self._judge(child).value(self._how) is None:
            return
        twin = level.standing.get(said(child))
        node = child if twin is None else merge([self._nodes[twin.path], child])[0]
        value = self._judge(node).value(self._how)
        assert value is not None
        level.standing[said(node)] = Standing(node.path, value, node.multiplicity)

    def _commit(self, level: _Level, kept: list[tuple[Standing, int]]) -> None:
        """End the level, and begin the next one with what is kept."""
        for path in level.pending:
            judge = self._judge(self._nodes[path])
            if not judge.settled:
                self._cancel(judge)
        level.pending, level.standing = {}, {}
        for one, held in kept:
            node = self._nodes[one.path]
            self._kept[node.path] = node
            if node.ended is None:
                self._extend(level, node, held)
            else:
                level.standing[said(node)] = one

    def _extend(self, level: _Level, parent: Node, places: int) -> None:
        for _ in range(places * self._expansions):
            child = self._sample(parent)
            level.pending[child.path] = Pending(child.path, child.bound(self._how))
