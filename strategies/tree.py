"""A search over a tree of steps: what every such strategy shares, so that each of them only has to decide."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from strategies.flat import COMPLETED
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Candidate,
    Ended,
    Event,
    Finish,
    Path,
    Paused,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
    Vote,
)
from strategies.selection import Ranked, StepAggregate, aggregate, by_score, by_weighted_vote, upper_bound
from strategies.spec import ScoreSpec

_ENDINGS = 16
"""How many beginnings are at most written to their ends when the budget has ended a search."""
_ENDING = -1
"""The number of an ending among the children of its beginning: a search that goes on from there samples from 0 on."""


@dataclass(slots=True, eq=False)
class Node:
    """What one stream wrote, one step as a rule, after all that its ancestors wrote; the root is the question.

    `scores` has one entry per step (`None`: to come). `paused` and `ended` say how the stream came to its end, `lost`
    that it never will, or that nobody waits for it any more. `unscored`: some score will never come. `multiplicity`
    samples wrote the same, or are at it still; those merged into another node have that one as their `twin`.
    """

    path: Path
    parent: "Node | None" = None
    steps: list[str] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    paused: Paused | None = None
    ended: Ended | None = None
    lost: bool = False
    unscored: bool = False
    multiplicity: int = 1
    twin: "Node | None" = None
    children: list["Node"] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come: no text and no score."""
        over = self.paused is not None or self.ended is not None
        return self.lost or (over and (self.unscored or None not in self.scores))

    @property
    def certainty(self) -> float | None:
        """The mean log-probability of what its stream wrote, where that was asked for."""
        told = self.ended or self.paused
        return None if told is None else told.certainty

    @property
    def path_scores(self) -> tuple[float | None, ...]:
        """The scores of all steps from the question on."""
        before = () if self.parent is None else self.parent.path_scores
        return (*before, *self.scores)

    def value(self, how: StepAggregate) -> float | None:
        """Return the aggregate of all scores from the question on, in [0, 1]; `None` where one is missing."""
        scores = [score for score in self.path_scores if score is not None]
        if not self.settled or self.lost or self.unscored or not scores:
            return None
        return aggregate(scores, how)

    def bound(self, how: StepAggregate) -> float:
        """Return the most that `value` can come to; 0 where it will never come to anything."""
        if self.settled:
            return self.value(how) or 0.0
        return upper_bound([*self.path_scores, None], how, ended=False)

    @property
    def text(self) -> str:
        """All that was written from the question on."""
        if self.ended is not None:
            return self.ended.text
        return ("" if self.parent is None else self.parent.text) + "".join(self.steps)


class TreeSearch(ABC):
    """Keeps the tree, and asks for the score of each step that is written. A strategy decides what is sampled when.

    It does so in `_start`, in `_known`, which is called with each node that has its scores or is lost for good, and in
    `_idle`, which is called when nothing is pending. Where it samples nothing then, the search ends. Where the budget
    has ended it, the most promising beginnings are written to their ends first, greedily, as many as it still allows;
    each stands for as many samples as its beginning did.
    """

    def __init__(self, score: ScoreSpec) -> None:
        if score.steps is None:
            raise ValueError(f"{score.source} scores whole candidates, a tree is searched by the scores of its steps")
        self.root = Node((), paused=Paused(()))
        self._how: StepAggregate = score.steps
        self._rank = by_score if score.select == "best" else by_weighted_vote
        self._nodes: dict[Path, Node] = {}
        self._pending = 0
        self._actions: list[Action] = []
        self._cut = False
        """Whether the budget has refused a sample: more are not worth asking for."""
        self._endings: list[Node] | None = None

    # --- what a strategy decides ---

    @abstractmethod
    def _start(self) -> None:
        """Sample the first nodes."""

    def _known(self, node: Node) -> None:  # noqa: B027 a hook
        """Take note that `node` has its scores, or is lost."""

    def _idle(self) -> None:  # noqa: B027 a hook
        """Nothing is pending: sample more, or the search ends."""

    def _finished(self) -> Sequence[Node]:
        """Return the whole solutions that take part in the outcome."""
        return self._ended()

    # --- what it may do ---

    def _sample(self, parent: Node, *, temperature: float | None = None, max_steps: int | None = 1) -> Node:
        """Ask for one more child of `parent`: its next step, or `max_steps` of them, or all (`None`)."""
        return self._ask(parent, len(parent.children), temperature, max_steps)

    def _ask(self, parent: Node, number: int, temperature: float | None, max_steps: int | None) -> Node:
        node = Node((*parent.path, number), parent)
        parent.children.append(node)
        self._nodes[node.path] = node
        self._pending += 1
        self._actions.append(Sample(node.path, temperature, max_steps))
        return node

    def _cancel(self, node: Node) -> None:
        """Give up a node that is not settled: nothing more about it matters."""
        node.lost = True
        self._pending -= 1
        self._actions.append(Cancel(node.path))

    # --- the state machine ---

    def begin(self) -> Sequence[Action]:
        """Return the first actions."""
        self._start()
        return self._taken()

    def on(self, event: Event) -> Sequence[Action]:
        """Enter what happened into the tree, and let the strategy go on from there."""
        node = self._nodes[event.node]
        if node.settled:
            # What was under way when its node was given up arrives late, and changes nothing.
            return []
        if self._entered(node, event):
            self._pending -= 1
            self._known(node)
            if self._pending == 0 and self._endings is None:
                self._idle()
            if self._pending == 0:
                self._end()
        return self._taken()

    def ranking(self) -> Sequence[Candidate]:
        """Return whole solutions, best first; where there is none yet, the most promising beginning."""
        return self._ranked()[0]

    def votes(self) -> Sequence[Vote]:
        """Return the votes of the whole solutions so far."""
        return self._ranked()[1]

    def nodes(self) -> Iterable[Node]:
        """Return all nodes but the root, in the order in which they were asked for."""
        return self._nodes.values()

    def _entered(self, node: Node, event: Event) -> bool:
        """Enter what happened; say whether `node` is settled by it."""
        match event:
            case Step(_, _, text):
                node.steps.append(text)
                node.scores.append(None)
                if not node.unscored:
                    self._actions.append(Score(node.path))
            case Scored(_, first, scores):
                node.scores[first : first + len(scores)] = scores
            case Paused():
                node.paused = event
            case Ended():
                node.ended = event
            case Cancelled():
                node.lost = True
            case Refused(wanted="sample"):
                node.lost = self._cut = True
            case Refused(wanted="score"):
                node.unscored = True
        return node.settled

    def _end(self) -> None:
        """Finish, unless there is something to write to its end first."""
        if self._endings is None:
            self._endings = [self._write_to_its_end(leaf) for leaf in self._worth_ending()]
        if self._pending == 0:
            self._actions.append(Finish(COMPLETED))

    def _worth_ending(self) -> list[Node]:
        """Return the beginnings to write to their ends: many after a cut, else one where nothing is whole."""
        whole = bool(self._ended())
        if whole and not self._cut:
            return []
        begun = self._frontier()[: _ENDINGS if self._cut else 1]
        return begun or ([] if whole else [self.root])

    def _write_to_its_end(self, leaf: Node) -> Node:
        ending = self._ask(leaf, _ENDING, 0.0, None)
        ending.multiplicity = leaf.multiplicity
        return ending

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _ended(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.ended is not None and node.twin is None]

    def _frontier(self) -> list[Node]:
        """Return what can be grown from, has a value, and has not been grown from: the deepest first, then the best."""
        grown = {node.parent for node in self._nodes.values() if not node.lost}
        begun = [node for node in self._nodes.values() if node.paused is not None and node.value(self._how) is not None]
        counted = [node for node in begun if node.twin is None and node.multiplicity > 0 and node not in grown]
        return sorted(counted, key=self._promise)

    def _promise(self, node: Node) -> tuple[float, float, Path]:
        return -len(node.path), -(node.value(self._how) or 0.0), node.path

    def _ranked(self) -> Ranked:
        endings = [node for node in self._endings or () if node.ended is not None]
        shown = [*self._finished(), *endings] or self._ended()
        if not shown:
            shown = sorted((node for node in self._nodes.values() if node.steps), key=self._promise)[:1]
        return self._rank([self._candidate(node) for node in {node.path: node for node in shown}.values()])

    def _candidate(self, node: Node) -> Candidate:
        return Candidate(
            node=node.path,
            text=node.text,
            answer=node.ended.answer if node.ended is not None else None,
            scores=tuple(score for score in node.path_scores if score is not None),
            score=node.value(self._how) if node.ended is not None else None,
            ended=node.ended.reason if node.ended is not None else None,
            multiplicity=node.multiplicity,
        )


Said = tuple[Path, tuple[str, ...], bool]
"""What two samples have in common of which one repeats the other (`merge`)."""


def said(node: Node) -> Said:
    """Return where `node` grows, what it wrote, white space aside, and whether that ended the solution."""
    return node.path[:-1], tuple(step.strip() for step in node.steps), node.ended is not None


def merge(nodes: Iterable[Node]) -> list[Node]:
    """Return `nodes` without those that repeat another one; the first of equals stands for all of them.

    Equal are siblings that wrote the same, white space aside, and came to their end alike: what can be sampled from
    one is distributed as what can be sampled from the other.
    """
    first: dict[Said, Node] = {}
    for node in sorted(nodes, key=lambda node: node.path):
        twin = first.setdefault(said(node), node)
        if twin is not node:
            node.twin = twin
            twin.multiplicity += node.multiplicity
    return list(first.values())
