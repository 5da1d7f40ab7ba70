"""Beam search without a barrier: asynchronous successive halving, applied to the levels of a tree.

Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934, algorithm 2: whatever is
among the best 1/η of what its rung has seen so far is promoted at once. Here a rung is a depth, and η = `expansions`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush

from strategies.lookahead import Lookahead
from strategies.protocol import Path
from strategies.spec import ScoreSpec
from strategies.tree import Node, Said, said


@dataclass(slots=True)
class _Rung:
    """One depth: how many samples have settled, how many were promoted; `waiting` has one entry per other sample."""

    settled: int = 0
    promoted: int = 0
    waiting: list[tuple[float, Path]] = field(default_factory=list)
    first: dict[Said, Node] = field(default_factory=dict)


class Halving(Lookahead):
    """Whenever a sample has settled, as many of its depth are promoted as are 1/`expansions` of those that have.

    It is always the best that waits (ties by path). A promoted node gets `expansions` children, or none if it is
    finished. A node that repeats an earlier one is one more sample of that. What was lost counts as settled, and is
    never promoted: a depth promotes as many as a strict level keeps, so that both search with the same number of steps.
    """

    def __init__(self, score: ScoreSpec, *, beams: int, expansions: int, lookahead: int) -> None:
        super().__init__(score, width=beams * expansions, lookahead=lookahead)
        self._beams = beams
        self._expansions = expansions
        self._rungs: defaultdict[int, _Rung] = defaultdict(_Rung)

    def _start(self) -> None:
        for _ in range(self._beams):
            self._extend(self.root)

    def _told(self, child: Node) -> None:
        if not self._judge(child).settled:
            return
        rung = self._rungs[len(child.path)]
        rung.settled += 1
        self._enter(rung, child)
        while rung.waiting and rung.promoted < rung.settled // self._expansions:
            rung.promoted += 1
            node = self._nodes[heappop(rung.waiting)[1]]
            self._kept[node.path] = node
            if node.ended is None:
                self._extend(node)

    def _enter(self, rung: _Rung, child: Node) -> None:
        """Let `child` wait for its promotion, if it has a value."""
        if self._judge(child).value(self._how) is None:
            return
        first = rung.first.setdefault(said(child), child)
        if first is not child:
            # The first to come stands for all, since it may have been extended already.
            child.twin = first
            first.multiplicity += 1
        value = self._judge(first).value(self._how)
        assert value is not None
        heappush(rung.waiting, (-value, first.path))

    def _extend(self, parent: Node) -> None:
        for _ in range(self._expansions):
            self._sample(parent)
