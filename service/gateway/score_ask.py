"""POST /v1/score: what a client may send, and the one request for scores that it becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from service.errors import InvalidRequest, QuestionTooLong
from service.gateway.explain import explain
from service.gateway.plan import check_deadline, check_question
from service.gateway.schema import Body
from service.gateway.way import known_name
from service.search.score_request import ScoreBudget, ScoreRequest
from service.settings import Limits, Settings


class ScoreOptions(Body):
    """How much it may spend."""

    budget: ScoreBudget = ScoreBudget()


class ScoreAsk(Body):
    """Body of POST /v1/score: a question, and either `solutions` or `steps`."""

    model: str = Field(description="Its reward model judges; its policy's step form cuts `solutions`.")
    question: str
    solutions: list[str] | None = Field(
        None, description="Whole solutions, cut into steps as in a search; of a thinking part nothing is scored."
    )
    steps: list[list[str]] | None = Field(None, description="Instead: the steps of each solution, taken as they are.")
    mull: ScoreOptions = ScoreOptions()


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """One request for scores, and how long it may take."""

    request: ScoreRequest
    deadline_s: float


def score_plan(data: Mapping[str, Any], settings: Settings) -> ScorePlan:
    """Check a request body and return what it asks for.

    Raises `InvalidRequest` (or its children `UnknownModel`, `QuestionTooLong`) that says what to change.
    """
    try:
        ask = ScoreAsk.model_validate(data, strict=True)
    except ValidationError as error:
        raise explain(error, ScoreAsk) from None
    model = known_name(ask.model, settings).base
    if settings.reward_of(model) is None:
        raise InvalidRequest(
            f"The model {ask.model!r} has no reward model.",
            hint="Ask for one that has, or add a reward model.",
            param="model",
        )
    check_question(ask.question, len(ask.question), "question", settings.limits)
    _check_solutions(ask, settings.limits)
    check_deadline(ask.mull.budget.deadline_ms, settings.limits)
    request = ScoreRequest(
        model=model,
        question=ask.question,
        solutions=None if ask.solutions is None else tuple(ask.solutions),
        steps=None if ask.steps is None else tuple(tuple(steps) for steps in ask.steps),
        budget=ask.mull.budget,
    )
    deadline_ms = ask.mull.budget.deadline_ms or settings.limits.default_deadline_ms
    return ScorePlan(request, deadline_ms / 1000)


def _check_solutions(ask: ScoreAsk, limits: Limits) -> None:
    if (ask.solutions is None) == (ask.steps is None):
        both = "are both given" if ask.solutions is not None else "are both missing"
        raise InvalidRequest(f"`solutions` and `steps` {both}.", hint="Send one of them.", param="solutions")
    if ask.solutions is not None:
        _check_lengths("solutions", [len(text) for text in ask.solutions], limits)
    if ask.steps is not None:
        _check_lengths("steps", [sum(map(len, steps)) for steps in ask.steps], limits)


def _check_lengths(field: str, lengths: Sequence[int], limits: Limits) -> None:
    """`lengths` are the characters of each solution."""
    if not lengths:
        raise InvalidRequest(f"`{field}` is empty.", hint="Send at least one solution.", param=field)
    if len(lengths) > limits.samples:
        raise InvalidRequest(
            f"{len(lengths)} solutions are more than this server scores at once: {limits.samples}.",
            hint="Send fewer, or raise limits.samples.",
            param=field,
        )
    for place, length in enumerate(lengths):
        if length > limits.question_chars:
            raise QuestionTooLong(
                f"`{field}[{place}]` has {length} characters, more than this server reads: {limits.question_chars}.",
                hint="Shorten it, or raise limits.question_chars.",
                param=f"{field}[{place}]",
            )
