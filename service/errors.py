"""Every error that Mull raises on purpose.

    MullError                     500
    ├── InvalidRequest            400   the client must change the request
    │   ├── UnknownModel          404
    │   ├── UnknownTrace          404
    │   ├── UnknownResponse       404
    │   ├── QuestionTooLong       400
    │   ├── RequestTimeout        408
    │   ├── RequestTooLarge       413
    │   ├── UnsupportedMediaType  415
    │   └── HeadersTooLarge       431
    ├── NotAuthorized             401
    │   └── InvalidApiKey         401   the client's key is missing or not known
    ├── QuotaExceeded             429   the client's key has used up what it may use for now
    ├── EngineError               502   an engine answered something we cannot use
    │   ├── EngineUnavailable     503   an engine cannot be reached or is not ready; retry later
    │   └── EngineTimeout         504   an engine did not answer in time
    ├── Overloaded                503   too many searches at once; retry later
    ├── JobsUnavailable           503   there is no Redis to keep jobs in, or it does not answer
    ├── NoAnswer                  504   the deadline passed before anything could be returned
    ├── ConfigError               500   mull.yaml or a MULL_ variable cannot be used
    └── StackError                500   a part of the stack could not be started or stopped

Each carries what an OpenAI-shaped body needs, and a hint that says what to do next.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class MullError(Exception):
    """Root of the tree. `retry_after` is in seconds; `code` is the class's name where OpenAI has none of its own."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    code: ClassVar[str | None] = None
    retryable: ClassVar[bool] = False
    retry_after: int | None = None

    def __init__(self, message: str, *, hint: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param

    def to_wire(self) -> dict[str, Any]:
        """Return plain data that crosses the process boundary; see `from_wire`."""
        name = self.code or type(self).__name__
        return {"class": name, "message": self.message, "hint": self.hint, "param": self.param}

    def to_body(self) -> dict[str, Any]:
        """Return the OpenAI-shaped error body."""
        text = f"{self.message} {self.hint}".strip()
        code = self.code or type(self).__name__
        return {"error": {"message": text, "type": self.type, "param": self.param, "code": code}}


class InvalidRequest(MullError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"


class UnknownModel(InvalidRequest):
    """No model of that name is configured."""

    status = 404


class UnknownTrace(InvalidRequest):
    """No trace is kept under that id, or none at all."""

    status = 404


class QuestionTooLong(InvalidRequest):
    """The question and its candidate do not fit the model's context."""


class UnknownResponse(InvalidRequest):
    """No response is kept under that id, or none of this caller's."""

    status = 404


class RequestTimeout(InvalidRequest):
    """The body did not come in time."""

    status = 408
    retryable = True


class RequestTooLarge(InvalidRequest):
    """The body has more bytes than the gateway reads."""

    status = 413


class UnsupportedMediaType(InvalidRequest):
    """The body is not JSON."""

    status = 415


class HeadersTooLarge(InvalidRequest):
    """The headers have more bytes than the gateway reads."""

    status = 431


class NotAuthorized(MullError):
    """An engine or the gateway refused the key."""

    status = 401
    type = "authentication_error"


class InvalidApiKey(NotAuthorized):
    """The client sent no key, or one that is not known."""

    type = "invalid_request_error"
    code = "invalid_api_key"


class QuotaExceeded(MullError):
    """The client's key has used up what it may use for now; `retry_after` seconds from now it may again."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", param: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message, hint=hint, param=param)
        self.retry_after = retry_after


class EngineError(MullError):
    """An engine answered something that cannot be used.

    `elsewhere`: another server of that engine may do what this one could not. `begun`: it may have worked on it.
    """

    status = 502
    type = "engine_error"
    retryable = True
    elsewhere: bool = False
    begun: bool = True


class EngineUnavailable(EngineError):
    """An engine cannot be reached, or is not ready."""

    status = 503
    retry_after = 5
    elsewhere = True


class EngineTimeout(EngineError):
    """An engine did not answer in time."""

    status = 504
    elsewhere = True


class Overloaded(MullError):
    """More searches are in flight than the workers take."""

    status = 503
    type = "overloaded_error"
    retryable = True
    retry_after = 2


class JobsUnavailable(MullError):
    """There is no Redis to keep jobs in, or it does not answer."""

    status = 503
    type = "jobs_error"
    retryable = True
    retry_after = 5


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
    c.code or c.__name__: c
    for c in (
        MullError,
        InvalidRequest,
        UnknownModel,
        UnknownTrace,
        QuestionTooLong,
        NotAuthorized,
        InvalidApiKey,
        QuotaExceeded,
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
