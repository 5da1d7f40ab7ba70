"""Steps judged by where they lead: greedy decoding goes on below a step, and the reward model looks there.

Snell et al. 2024, arXiv:2408.03314, section 5.2 (lookahead search): a rollout at temperature 0 of up to k further
steps, and the reward model's prediction at its end is the step's own. With k = 0 a step is judged by itself.
"""

from abc import abstractmethod
from collections.abc import Sequence

from strategies.protocol import Path
from strategies.spec import ScoreSpec
from strategies.tree import Node, Said, TreeSearch, said


class Lookahead(TreeSearch):
    """A tree in which a step's value is that of its `_judge`: a stream of `lookahead` greedy steps below it, or itself.

    From `width` first steps each grows a subtree that knows no other. There, siblings that wrote the same share the
    stream of the first, where that one was known in time. A step whose lookahead is lost has no value. What the
    strategy went on from, or ended with, it puts in `_kept`: only those solutions take part in the outcome, and those
    that a lookahead came to from there.
    """

    def __init__(self, score: ScoreSpec, *, width: int, lookahead: int) -> None:
        super().__init__(score)
        self._width = width
        self._kept: dict[Path, Node] = {}
        self._lookahead = lookahead
        self._ahead: dict[Path, Node] = {}
        self._behind: dict[Path, list[Node]] = {}
        self._first: dict[tuple[int, Said], Node] = {}

    @abstractmethod
    def _told(self, child: Node) -> None:
        """Take note of `child`: its judge has settled, or has only now been asked for."""

    def _judge(self, child: Node) -> Node:
        """Return the node whose value is the child's, and whose bound is."""
        return self._ahead.get(child.path, child)

    def _subtree(self, child: Node) -> int:
        """Return the number of the subtree that `child` belongs to, from 0."""
        return child.path[0] // self._width

    def _known(self, node: Node) -> None:
        if self._endings is not None:
            return
        children = self._behind.pop(node.path, None)
        if children is None:
            children = [node]
            if self._lookahead and node.paused is not None and node.value(self._how) is not None:
                self._look_ahead(node)
        for child in children:
            self._told(child)

    def _finished(self) -> Sequence[Node]:
        judges = (self._judge(node) for node in self._kept.values())
        return [judge for judge in judges if judge.ended is not None]

    def _look_ahead(self, child: Node) -> None:
        same = self._subtree(child), said(child)
        first = self._first.setdefault(same, child)
        if first.path < child.path:
            # Never a later one's: which was known first would then decide where the tree has its nodes.
            ahead = self._ahead[first.path]
        else:
            self._first[same] = child
            ahead = self._sample(child, temperature=0.0, max_steps=self._lookahead)
        self._ahead[child.path] = ahead
        if not ahead.settled:
            self._behind.setdefault(ahead.path, []).append(child)
