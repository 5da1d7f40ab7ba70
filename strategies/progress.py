"""One candidate of a flat search, as far as it is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from strategies.protocol import Candidate, Ended, Path
from strategies.selection import StepAggregate, aggregate, upper_bound

Scoring = StepAggregate | Literal["certainty"] | None
"""Where a candidate's score comes from: its step scores, reduced to one; the policy's certainty; or there is none."""


@dataclass(slots=True)
class Progress:
    """The candidate at `node`: its steps and their scores (`None`: to come), and how it ended, if it has.

    `missing` counts the scores to come. `stopped`: it was cut, or never started. `refused`: the score of some step will
    never come.
    """

    node: Path
    scoring: Scoring
    steps: list[str] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    ended: Ended | None = None
    missing: int = 0
    stopped: bool = False
    refused: bool = False

    def add(self, step: str) -> None:
        """Append a step, whose score is to come."""
        self.steps.append(step)
        self.scores.append(None)
        self.missing += 1

    def add_scores(self, first: int, scores: Sequence[float]) -> None:
        """Enter the scores of the steps `first, first + 1, …`."""
        for index, score in enumerate(scores, first):
            self.missing -= self.scores[index] is None
            self.scores[index] = score

    @property
    def wants_scores(self) -> bool:
        """Whether scores of its steps can still be of use."""
        return self.scoring is not None and self.scoring != "certainty" and not self.refused

    @property
    def growing(self) -> bool:
        """Whether its stream may still write."""
        return self.ended is None and not self.stopped

    @property
    def over(self) -> bool:
        """Whether nothing more is to come: no text and no score."""
        return self.stopped or (self.ended is not None and not (self.wants_scores and self.missing))

    @property
    def settled(self) -> bool:
        """Whether its part in the outcome is known: it is over, or has ended without an answer."""
        return self.over or (self.ended is not None and self.key is None)

    @property
    def key(self) -> str | None:
        """The canonical key of its answer; `None` before its end, and without an answer."""
        return self.ended.answer.key if self.ended is not None and self.ended.answer is not None else None

    @property
    def score(self) -> float | None:
        """The score of a candidate that has ended, once it is complete."""
        if self.scoring is None or self.ended is None:
            return None
        if self.scoring == "certainty":
            return self.ended.certainty
        known = [score for score in self.scores if score is not None]
        return aggregate(known, self.scoring) if known and not self.missing else None

    @property
    def weight(self) -> float | None:
        """What its vote counts: its score, and 1 where there is no scoring."""
        return 1.0 if self.scoring is None else self.score

    @property
    def bound(self) -> float:
        """The most that its weight can come to, where that is in [0, 1]."""
        if self.refused:
            return 0.0
        if self.scoring is None or self.scoring == "certainty":
            return 1.0
        return upper_bound(self.scores, self.scoring, ended=self.ended is not None)

    @property
    def has_text(self) -> bool:
        """Whether there is something to show."""
        return bool(self.steps) or (self.ended is not None and self.ended.text != "")

    def candidate(self) -> Candidate:
        """Return it as a result: what has been written so far, where it has not ended."""
        return Candidate(
            node=self.node,
            text=self.ended.text if self.ended is not None else "".join(self.steps),
            answer=self.ended.answer if self.ended is not None else None,
            scores=tuple(score for score in self.scores if score is not None),
            score=self.score,
            ended=self.ended.reason if self.ended is not None else None,
        )
