"""Flat search: independent candidates, each one stream from the question to its own end."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from strategies.early_stop import Rule
from strategies.progress import Progress, Scoring
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Candidate,
    Ended,
    Event,
    Finish,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
    Vote,
)
from strategies.selection import Ranked

COMPLETED = "completed"
"""Reason of a search in which every candidate came to its own end."""


class Flat:
    """`samples` candidates under the root, all asked for at once; `scoring` says where their scores come from.

    `rank` orders the candidates and counts the votes. `temperature` overrides the policy's own for every candidate.
    `rule` cuts what cannot change the winner; what is saved by that is not spent on other candidates. With `economy` it
    also says how many to ask for, and when.
    """

    def __init__(
        self,
        samples: int,
        rank: Callable[[Sequence[Candidate]], Ranked],
        *,
        scoring: Scoring = None,
        temperature: float | None = None,
        rule: Rule | None = None,
        economy: bool = False,
    ) -> None:
        self._rank = rank
        self._scoring = scoring
        self._temperature = temperature
        self._rule = rule
        self._economy = economy
        self._streams = [Progress((i,), scoring) for i in range(samples)]
        self._launched = 0
        self._growing = 0
        self._left = samples
        self._any_answer = False
        self._unanswered: list[Progress] = []
        self._cut_any = False

    def begin(self) -> Sequence[Action]:
        """Ask for every candidate at once, or for as many as economy allows; the driver starts as many as fit."""
        return self._launch()

    def on(self, event: Event) -> Sequence[Action]:
        """Note what happened: ask for a new step's score, cut what has lost, finish when nothing is pending."""
        stream = self._streams[event.node[0]]
        if stream.over:
            # What was under way when its candidate was cut arrives late, and changes nothing.
            return []
        grew = stream.growing
        match event:
            case Step(node, _, text):
                stream.add(text)
                return [Score(node)] if stream.wants_scores else []
            case Ended():
                stream.ended = event
            case Scored(_, first, scores):
                stream.add_scores(first, scores)
            case Cancelled() | Refused(wanted="sample"):
                stream.stopped = True
            case Refused(wanted="score"):
                stream.refused = True
        self._growing -= grew and not stream.growing
        self._left -= stream.over
        return self._next(stream)

    def ranking(self) -> Sequence[Candidate]:
        """Return what has been written so far, best first; what takes no part in the outcome comes last."""
        shown = self._shown()
        return [*self._rank(shown[0])[0], *shown[1]]

    def votes(self) -> Sequence[Vote]:
        """Return the votes of the answers so far."""
        return self._rank(self._shown()[0])[1]

    def _next(self, stream: Progress) -> list[Action]:
        actions: list[Action] = []
        if self._rule is not None:
            place = stream.node[0]
            if stream.settled:
                self._rule.final(place, stream.key, stream.weight)
            else:
                self._rule.pending(place, stream.key, stream.bound)
            actions += self._cut(self._streams[i] for i in self._rule.cut())
            actions += self._cut_unanswered(stream)
        if self._left == 0:
            reason = self._rule.reason if self._rule is not None and self._cut_any else COMPLETED
            return [*actions, Finish(reason)]
        return [*actions, *self._launch()]

    def _cut_unanswered(self, stream: Progress) -> list[Action]:
        """Candidates without an answer have lost as soon as there is one: their scores are not needed."""
        if stream.ended is not None and not stream.over and stream.key is None:
            self._unanswered.append(stream)
        self._any_answer = self._any_answer or stream.key is not None
        if not self._any_answer:
            return []
        doomed, self._unanswered = self._unanswered, []
        return self._cut(doomed)

    def _cut(self, streams: Iterable[Progress]) -> list[Action]:
        actions: list[Action] = []
        for stream in streams:
            if stream.over:
                continue
            self._cut_any = True
            self._left -= 1
            if stream.node[0] < self._launched:
                self._growing -= stream.growing
                actions.append(Cancel(stream.node, forgo=True))
            stream.stopped = True
        return actions

    def _launch(self) -> list[Action]:
        samples = len(self._streams)
        wanted = samples - self._launched
        if wanted and self._economy and self._rule is not None:
            wanted = self._rule.wanted(self._launched, self._growing)
        launched = [s for s in islice(self._streams, self._launched, self._launched + wanted) if not s.over]
        self._launched += wanted
        self._growing += len(launched)
        return [Sample(stream.node, temperature=self._temperature) for stream in launched]

    def _shown(self) -> tuple[list[Candidate], list[Candidate]]:
        """Return the candidates that take part in the outcome, and the others."""
        counted = len(self._streams) if self._rule is None else self._rule.counted
        parts = self._streams[:counted], self._streams[counted:]
        part, others = ([s.candidate() for s in streams if s.has_text] for streams in parts)
        return part, others
