"""What a strategy is told (events) and what it may ask for (actions)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Path = tuple[int, ...]
"""A place in the tree: the child index at each level. `()` is the question itself, which holds no text.

-1 is what a search wrote to its end when nothing else was left to do: no sample, whatever it goes on from, has it.
"""

EndReason = Literal["stop", "length"]
"""Why a stream ended: the policy stopped by itself, or its token cap was reached."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer taken from one candidate and reduced alone.

    `text` is what the policy wrote (`\\frac12`), `key` its canonical form: two answers are one vote exactly when
    their keys are equal (`1/2`).
    """

    text: str
    key: str


# --- actions: what a strategy wants -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """Let one stream of steps grow from the end of `node[:-1]`, to be known as `node`.

    It grows to its own end, or until it has written `max_steps` steps (at least 1); what has been paused there can be
    grown from. `temperature` overrides the policy's own (0 is greedy decoding); `None` keeps it.
    """

    node: Path
    temperature: float | None = None
    max_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Score every step of `node` that is finished and has no score yet."""

    node: Path


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the stream and the pending score of `node`: nothing more about it matters.

    What the stream had set aside and did not use is free again for other streams, unless `forgo` is true: then it is
    saved, and nothing else is bought with it.
    """

    node: Path
    forgo: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """End the search; `reason` becomes `stopped_by` in the response."""

    reason: str


Action = Sample | Score | Cancel | Finish


# --- events: what happened ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """Step number `index` (from 0, counted within `node`) of a stream is complete.

    `text` is as the policy wrote it, the separator that ends it included: a stream's steps joined are its text, but for
    a thinking part in front, which is no step.
    """

    node: Path
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The stream of `node` has written as many steps as it was asked for, all of which have been told.

    `certainty` is as in `Ended`.
    """

    node: Path
    certainty: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream of `node` ended; all its steps have been told.

    `text` is the whole solution, from the question on, separators included. `answer` is `None` where it holds none.
    `certainty` is what the policy's own log-probabilities say of what this stream wrote, where that was asked for
    (`ScoreSpec.source`, `Spec.prior`).
    """

    node: Path
    reason: EndReason
    text: str
    answer: Answer | None
    certainty: float | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """The reward model's scores of `node`'s steps `first, first + 1, …`; each in [0, 1]."""

    node: Path
    first: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The stream of `node` was stopped before its end, as asked."""

    node: Path


@dataclass(frozen=True, slots=True)
class Refused:
    """What was `wanted` of `node` cannot be had: its stream never starts, or its score never comes.

    `because` there is no budget left for it, or because its length exceeds the reward model's context.
    """

    node: Path
    wanted: Literal["sample", "score"]
    because: Literal["budget", "length"] = "budget"


Event = Step | Paused | Ended | Scored | Cancelled | Refused


# --- results ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution a search has to show.

    `scores` has one entry in [0, 1] per scored step; `score` is their aggregate, or the policy's certainty where that
    judges, and `None` where nothing does or the candidate is not whole. `ended` is `None` for what was stopped before
    its own end. `multiplicity` samples gave this same solution: it has as many votes.
    """

    node: Path
    text: str
    answer: Answer | None
    scores: tuple[float, ...]
    score: float | None
    ended: EndReason | None
    multiplicity: int = 1


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer with its share in [0, 1] of all votes that were counted, weighted where the strategy weighs them.

    `candidates` counts a candidate as often as it was sampled.
    """

    answer: Answer
    weight: float
    share: float
    candidates: int


class Strategy(Protocol):
    """A search as a pure state machine, driven by one event at a time (ask/tell)."""

    def begin(self) -> Sequence[Action]:
        """Return the first actions. Called once, before any event."""
        ...

    def on(self, event: Event) -> Sequence[Action]:
        """Take one event in and return what is wanted next, possibly nothing."""
        ...

    def ranking(self) -> Sequence[Candidate]:
        """Return the candidates so far, best first; valid at any moment."""
        ...

    def votes(self) -> Sequence[Vote]:
        """Return the answers so far, heaviest first."""
        ...
