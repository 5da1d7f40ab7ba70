"""The tree of a search, read from its trace: what grew where, how it scored, and what became of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.cli.answer import one_line
from service.search.request import CandidateResult
from service.search.trace import Grown, Record, Told, Wished
from strategies.protocol import Cancel, Cancelled, Ended, Event, Path, Paused, Refused, Sample, Scored, Step
from strategies.selection import StepAggregate, aggregate

NOT_EXTENDED = "not extended"


@dataclass(slots=True, eq=False)
class Branch:
    """One node; the root, which is the question, has no `sample`.

    `scores` are by step, of those that came. `tokens` are all that were generated for it, `before` those of them that
    an earlier run had paid for. `copies` siblings wrote the same.
    """

    path: Path
    sample: Sample | None = None
    steps: list[str] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    end: Paused | Ended | None = None
    lost: str | None = None
    tokens: int = 0
    before: int = 0
    copies: int = 1
    children: list["Branch"] = field(default_factory=list)

    @property
    def is_lookahead(self) -> bool:
        """Whether it was written only to see where its parent leads: greedily, and not to its end."""
        return self.sample is not None and self.sample.temperature == 0.0 and self.sample.max_steps is not None

    @property
    def is_extended(self) -> bool:
        """Whether the search went on from here."""
        return any(not child.is_lookahead for child in self.children)

    @property
    def text(self) -> str:
        """What it wrote, in one line."""
        return " / ".join(one_line(step) for step in self.steps)

    @property
    def fate(self) -> str:
        """What became of it, in a few words; nothing to say of a node that was extended."""
        if isinstance(self.end, Ended):
            answer = "no answer" if self.end.answer is None else f"= {one_line(self.end.answer.text)}"
            cut = "cut at its token cap" if self.end.reason == "length" else None
            return ", ".join(part for part in (answer, cut, self.lost) if part is not None)
        if self.lost is not None:
            return self.lost
        if self.end is None:
            return "unfinished"
        return "" if self.is_extended or self.is_lookahead else NOT_EXTENDED

    def score(self, how: StepAggregate) -> float | None:
        """Return its step's score, of several steps their aggregate; `None` where one is missing."""
        if not self.steps or len(self.scores) < len(self.steps):
            return None
        return aggregate([self.scores[index] for index in range(len(self.steps))], how)

    def walk(self) -> Iterator["Branch"]:
        """Return itself and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def tell(self, event: Event) -> None:
        """Note what happened to it."""
        match event:
            case Step(_, _, text):
                self.steps.append(text)
            case Scored(_, first, scores):
                self.scores.update(enumerate(scores, first))
            case Paused() | Ended():
                self.end = event
            case Cancelled():
                self.lost = "cancelled"
            case Refused(_, "sample"):
                self.lost = "no budget"
            case Refused(_, "score", because):
                self.lost = "no score: too long" if because == "length" else "no score: no budget"


def is_tree(trace: Sequence[Record]) -> bool:
    """Tell whether the search sampled steps, and not whole solutions only."""
    samples = (record.action for record in trace if isinstance(record, Wished))
    return any(isinstance(action, Sample) and action.max_steps is not None for action in samples)


def branches(trace: Sequence[Record]) -> Branch:
    """Return the root of the tree that a whole trace tells of, siblings in the order of their places.

    Siblings that wrote the same are one, with as many `copies`, but for those that were extended.
    """
    root = Branch(())
    found: dict[Path, Branch] = {(): root}
    for record in trace:
        match record:
            case Wished(_, Sample(node) as sample):
                found[node] = Branch(node, sample)
                found[node[:-1]].children.append(found[node])
            case Wished(_, Cancel(node)):
                found[node].lost = "cancelled"
            case Told(_, event):
                found[event.node].tell(event)
            case _:
                pass
    for record in trace:
        # What an earlier run had paid for stands before the wish that takes it up.
        if isinstance(record, Grown) and record.node in found:
            found[record.node].tokens += record.bill.generated
            found[record.node].before += record.bill.generated if record.past else 0
    _merge(root)
    return root


def way_to(root: Branch, best: CandidateResult) -> set[Path]:
    """Return the places of the nodes of which `best` consists; none where the trace's texts do not tell."""
    ways = [[root]]
    while ways:
        way = ways.pop(0)
        last = way[-1]
        text = last.end.text if isinstance(last.end, Ended) else "".join(step for one in way for step in one.steps)
        scores = tuple(one.scores[index] for one in way for index in sorted(one.scores))
        if last is not root and text == best.text and scores == best.scores:
            return {one.path for one in way}
        ways.extend([*way, child] for child in last.children)
    return set()


def _merge(branch: Branch) -> None:
    """Sort the children, and make one of those that wrote the same, but for those that were extended."""
    firsts: dict[object, Branch] = {}
    for one in sorted(branch.children, key=lambda child: (not child.is_extended, child.path)):
        said = tuple(step.strip() for step in one.steps), type(one.end), one.lost, one.is_lookahead
        first = firsts.setdefault(one if one.is_extended and said in firsts else said, one)
        if first is not one:
            first.copies += one.copies
            first.tokens += one.tokens
            first.before += one.before
            first.children += one.children
    branch.children = sorted(firsts.values(), key=lambda child: child.path)
    for child in branch.children:
        _merge(child)
