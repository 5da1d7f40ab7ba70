"""What became of each candidate of a search, read from its trace."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from service.search.request import SearchRequest
from service.search.trace import Begun, Grown, Record, Stopped, Told, Wished
from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.protocol import Cancel, Ended, Event, Path, Refused, Sample, Scored, Step
from strategies.selection import StepAggregate, aggregate, upper_bound


@dataclass(slots=True)
class Life:
    """One candidate. `asked`, `over` and the times of its `steps` are in seconds since the search began.

    `scores` are by step, of those that came; `tokens` are all that were generated for it, `before` those of them that
    an earlier run had paid for. `stopped` says in a word why it did not come to its own end, `None` if it did.
    """

    node: Path
    asked: float
    steps: list[float] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    ended: Ended | None = None
    over: float | None = None
    stopped: str | None = None
    tokens: int = 0
    before: int = 0

    def score(self, how: StepAggregate) -> float | None:
        """Return the score with which it can win; `None` before it is complete, and without an answer."""
        if self.ended is None or self.ended.answer is None or not self.scores or len(self.scores) < len(self.steps):
            return None
        return aggregate([self.scores[i] for i in range(len(self.steps))], how)

    def bound(self, how: StepAggregate) -> float:
        """Return the most that its score could come to."""
        return upper_bound([self.scores.get(i) for i in range(len(self.steps))], how, ended=self.ended is not None)

    def tell(self, at: float, event: Event) -> None:
        """Note what happened to it."""
        match event:
            case Step():
                self.steps.append(at)
            case Scored(_, first, scores):
                self.scores.update(enumerate(scores, first))
            case Ended():
                self.ended, self.over = event, at
            case Refused(_, "sample"):
                self.stopped, self.over = "no budget", at
            case _:
                pass


def lives(trace: Sequence[Record]) -> list[Life]:
    """Return the candidates of a whole trace, in the order in which they were asked for."""
    found: dict[Path, Life] = {}
    request: SearchRequest | None = None
    for record in trace:
        match record:
            case Begun():
                request = record.request
            case Wished(at, Sample(node)):
                found[node] = Life(node, at)
            case Wished(at, Cancel(node)) if found[node].over is None and request is not None:
                found[node].over, found[node].stopped = at, _why(found[node], found.values(), request)
            case Told(at, event):
                found[event.node].tell(at, event)
            case Stopped(at, reason):
                for life in found.values():
                    if life.over is None:
                        life.over, life.stopped = at, reason
            case _:
                pass
    for record in trace:
        if isinstance(record, Grown) and record.node in found:
            found[record.node].tokens += record.bill.generated
            found[record.node].before += record.bill.generated if record.past else 0
    return list(found.values())


def _why(life: Life, others: Iterable[Life], request: SearchRequest) -> str:
    """Say why a flat strategy has cut a candidate, as far as the trace tells it."""
    strategy, score = request.strategy, request.score
    if isinstance(strategy, BestOfN) and score.select == "best" and score.steps is not None:
        best = max((s for other in others if (s := other.score(score.steps)) is not None), default=None)
        if best is not None:
            return f"at most {life.bound(score.steps):.2f}, best {best:.2f}"
    if isinstance(strategy, BestOfN | MajorityVote):
        return "vote decided"
    return "cannot win"
