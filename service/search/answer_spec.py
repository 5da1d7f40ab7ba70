"""What counts as a solution's answer, as plain data."""

import re
import warnings
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

AnswerKind = Literal["math", "choice", "number", "regex", "exact", "none"]

LABELS = tuple("ABCDE")
"""What is chosen from where nothing else is said."""

_DESCRIPTION = (
    "math: what is boxed or announced, equal values are one answer (1/2, 0.5); choice: one of `labels`; "
    "number: a plain number without its unit, the last one where none is announced; regex: the last match of the group "
    "in `pattern`; exact: the whole text, without regard to white space; none: nothing is an answer, so nothing is "
    "pooled and the judge selects."
)


def _listed(labels: Any) -> Any:
    return tuple(labels) if isinstance(labels, list) else labels


class AnswerSpec(BaseModel):
    """How answers are found and compared: two candidates give one answer exactly when their keys are equal."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: AnswerKind = Field("math", description=_DESCRIPTION)
    labels: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=32, pattern=r"^\S(.*\S)?$")], ...] | None,
        Field(min_length=2, max_length=64),
        BeforeValidator(_listed),
    ] = Field(None, description=f"choice only; compared without case. Default: {', '.join(LABELS)}.")
    pattern: str | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="regex only: a pattern of Python's `re` with one group. One that takes seconds of a processor on "
        "one candidate ends the search with a 400.",
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        if self.labels is not None and self.kind != "choice":
            raise ValueError(f"`labels` belong to the kind choice, not {self.kind}")
        if self.pattern is not None and self.kind != "regex":
            raise ValueError(f"`pattern` belongs to the kind regex, not {self.kind}")
        if self.labels is not None and len({label.casefold() for label in self.labels}) < len(self.labels):
            raise ValueError("`labels` has one label twice; case makes no difference")
        if self.kind == "regex":
            _check_pattern(self.pattern)
        return self

    @property
    def choices(self) -> tuple[str, ...]:
        """The labels to choose from."""
        return self.labels or LABELS


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        raise ValueError("regex needs a `pattern` with one group")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what may mean something else in a later Python is a pattern all the same
            groups = re.compile(pattern).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"`pattern` is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"`pattern` has {groups} groups and must have one; (?:…) is none")


def named(answer: Any) -> Any:
    """Write a bare kind as an object."""
    return {"kind": answer} if isinstance(answer, str) else answer


MATH = AnswerSpec()
EXACT = AnswerSpec(kind="exact")
