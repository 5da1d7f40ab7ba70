"""Every error that Mull raises on purpose.

    MullError                     500
    ├── InvalidRequest            400   the client must change the request
    │   ├── UnknownModel          404
    │   ├── QuestionTooLong       400
    │   ├── RequestTooLarge       413
    │   └── UnsupportedMediaType  415
    ├── NotAuthorized             401
    ├── EngineError               502   an engine answered something we cannot use
    │   ├── EngineUnavailable     503   an engine cannot be reached or is not ready; retry later
    │   └── EngineTimeout         504   an engine did not answer in time
    ├── Overloaded                503   too many searches at once; retry later
    ├── NoAnswer                  504   the deadline passed before anything could be returned
    ├── ConfigError               500   mull.yaml or a MULL_ variable cannot be used
    └── StackError                500   a part of the stack could not be started or stopped

Each carries what an OpenAI-shaped body needs, and a hint that says what to do next.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class MullError(Exception):
    """Root of the tree. `retry_after` is in seconds."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after: ClassVar[int | None] = None

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param

    def to_wire(self) -> dict[str, Any]:
        """Return plain data that crosses the process boundary; see `from_wire`."""
        return {"class": type(self).__name__, "message": self.message, "hint": self.hint, "param": self.param}

    def to_body(self) -> dict[str, Any]:
        """Return the OpenAI-shaped error body."""
        text = f"{self.message} {self.hint}".strip()
        return {"error": {"message": text, "type": self.type, "param": self.param, "code": type(self).__name__}}


class InvalidRequest(MullError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"


class UnknownModel(InvalidRequest):
    """No model of that name is configured."""

    status = 404


class QuestionTooLong(InvalidRequest):
    """The question and its candidate do not fit the model's context."""


class RequestTooLarge(InvalidRequest):
    """The body has more bytes than the gateway reads."""

    status = 413


class UnsupportedMediaType(InvalidRequest):
    """The body is not JSON."""

    status = 415


class NotAuthorized(MullError):
    """An engine or the gateway refused the key."""

    status = 401
    type = "authentication_error"


class EngineError(MullError):
    """An engine answered something that cannot be used."""

    status = 502
    type = "engine_error"
    retryable = True


class EngineUnavailable(EngineError):
    """An engine cannot be reached, or is not ready."""

    status = 503
    retry_after = 5


class EngineTimeout(EngineError):
    """An engine did not answer in time."""

    status = 504


class Overloaded(MullError):
    """More searches are in flight than the workers take."""

    status = 503
    type = "overloaded_error"
    retryable = True
    retry_after = 2


class NoAnswer(MullError):
    """The deadline passed, or the budget was used up, before there was anything to return."""

    status = 504
    type = "no_answer_error"
    retryable = True


class ConfigError(MullError):
    """The configuration cannot be used; `source` is the file or variable, `problems` has one line for each fault."""

    type = "configuration_error"

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = tuple(problems)


class StackError(MullError):
    """A part of the stack could not be started or stopped."""

    type = "stack_error"


_CLASSES: dict[str, type[MullError]] = {
    c.__name__: c
    for c in (
        MullError,
        InvalidRequest,
        UnknownModel,
        QuestionTooLong,
        NotAuthorized,
        EngineError,
        EngineUnavailable,
        EngineTimeout,
        Overloaded,
        NoAnswer,
    )
}


def from_wire(wire: Mapping[str, Any]) -> MullError:
    """Rebuild the error that `MullError.to_wire` described."""
    cls = _CLASSES.get(wire["class"], MullError)
    return cls(wire["message"], hint=wire["hint"], param=wire["param"])
