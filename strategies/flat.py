"""Flat search: independent candidates, each one stream from the question to its own end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from strategies.protocol import (
    Action,
    Cancelled,
    Candidate,
    Ended,
    Event,
    Finish,
    Path,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
    Vote,
)
from strategies.selection import Ranked


@dataclass(slots=True)
class _Progress:
    steps: list[str] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    ended: Ended | None = None
    stopped: bool = False
    score_refused: bool = False


class Flat:
    """`samples` candidates under the root; each step is scored as soon as it is written where `aggregate` is given.

    `rank` orders the candidates and counts the votes. `temperature` overrides the policy's own for every candidate.
    """

    def __init__(
        self,
        samples: int,
        rank: Callable[[Sequence[Candidate]], Ranked],
        *,
        aggregate: Callable[[Sequence[float]], float] | None = None,
        temperature: float | None = None,
    ) -> None:
        self._rank = rank
        self._aggregate = aggregate
        self._temperature = temperature
        self._streams: dict[Path, _Progress] = {(i,): _Progress() for i in range(samples)}

    def begin(self) -> Sequence[Action]:
        """Ask for every candidate at once; the driver starts as many as fit."""
        return [Sample(node, temperature=self._temperature) for node in self._streams]

    def on(self, event: Event) -> Sequence[Action]:
        """Note what happened; ask for a step's score when it is complete, finish when nothing is pending."""
        stream = self._streams[event.node]
        actions: list[Action] = []
        match event:
            case Step(node, _, text):
                stream.steps.append(text)
                if self._aggregate is not None:
                    actions.append(Score(node))
            case Ended():
                stream.ended = event
            case Scored(_, first, scores):
                stream.scores.update(enumerate(scores, first))
            case Cancelled() | Refused(wanted="sample"):
                stream.stopped = True
            case Refused(wanted="score"):
                stream.score_refused = True
        if all(self._over(s) for s in self._streams.values()):
            actions.append(Finish("completed"))
        return actions

    def ranking(self) -> Sequence[Candidate]:
        """Return what has been written so far, best first."""
        return self._rank(self._candidates())[0]

    def votes(self) -> Sequence[Vote]:
        """Return the votes of the answers so far."""
        return self._rank(self._candidates())[1]

    def _over(self, stream: _Progress) -> bool:
        if stream.stopped or stream.ended is None:
            return stream.stopped
        return self._aggregate is None or stream.score_refused or len(stream.scores) == len(stream.steps)

    def _candidates(self) -> list[Candidate]:
        return [_candidate(node, s, self._aggregate) for node, s in self._streams.items() if s.steps]


def _candidate(node: Path, stream: _Progress, aggregate: Callable[[Sequence[float]], float] | None) -> Candidate:
    text = stream.ended.text if stream.ended else "".join(stream.steps)
    answer = stream.ended.answer if stream.ended else None
    scores = tuple(stream.scores[i] for i in sorted(stream.scores))
    complete = stream.ended is not None and len(scores) == len(stream.steps)
    score = aggregate(scores) if aggregate is not None and scores and complete else None
    finished = stream.ended is not None and stream.ended.reason == "stop"
    return Candidate(node, text, answer, scores, score, finished)
