"""What went wrong at an engine, in our own errors: a failure is never a score of 0.0, nor an empty text."""

import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from service.errors import EngineError, EngineTimeout, EngineUnavailable, MullError, QuestionTooLong

LOST = (aiohttp.ClientError, OSError)  # a TimeoutError is an OSError
DOCTOR = "Run `mull doctor` to see what the engines lack."
_TOO_LONG = ("maximum context length", "max_model_len", "too long", "longer than the maximum")
_NOT_READY = {429, 502, 503, 504}  # a full queue, or a proxy in front of a server that is not there


def gone(engine: str) -> EngineUnavailable:
    """Name an engine that is not there."""
    return EngineUnavailable(f"The {engine} cannot be reached.", hint=DOCTOR)


def out_of_service(engine: str, whys: Sequence[str]) -> EngineUnavailable:
    """Name an engine of which nothing is expected for now: what each of its servers has failed with is in `whys`."""
    failure = EngineUnavailable(f"The {engine} is left alone for now. {' '.join(whys)}", hint=DOCTOR)
    failure.elsewhere, failure.begun = False, False
    return failure


def for_good(error: EngineError) -> EngineError:
    """Return a failure as one that no other server can make good."""
    final = type(error)(error.message, hint=error.hint)
    final.elsewhere = False
    return final


def silent(engine: str) -> EngineTimeout:
    """Name an engine that has not said anything for `timeout_s` seconds."""
    return EngineTimeout(f"The {engine} was silent for too long.", hint="Raise its timeout_s, or lower its load.")


def lost(engine: str, cause: Exception) -> EngineError:
    """Translate a request that got no whole answer."""
    match cause:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return _untouched(gone(engine))
        case TimeoutError():
            return silent(engine)
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | aiohttp.ClientResponseError() | OSError():
            return EngineUnavailable(f"The {engine} broke the connection off.", hint=DOCTOR)
        case _:
            return EngineError(f"The {engine} could not be asked: {type(cause).__name__}.", hint=DOCTOR)


def refused(engine: str, status: int, body: bytes, *, served_name: str) -> MullError:
    """Translate an answer whose HTTP status is not 200; `body` is what came with it."""
    message = _message(body)
    if status in _NOT_READY:
        return _untouched(EngineUnavailable(f"The {engine} takes no requests now (status {status}).", hint=DOCTOR))
    if status in (401, 403):
        return EngineError(f"The {engine} refused our API key.", hint="Set its api_key_env in mull.yaml.")
    if status == 404:
        return EngineError(
            f"The {engine} does not know the model, or is no vLLM server: {message}",
            hint=f"It was asked for served_name {served_name!r}; url is the server's root, without /v1.",
        )
    if status == 400 and any(words in message for words in _TOO_LONG):
        return QuestionTooLong(f"The {engine} says: {message}", hint="Shorten the question.")
    failure = EngineError(f"The {engine} answered with status {status}: {message}", hint=DOCTOR)
    failure.elsewhere = status >= 500
    return failure


def as_bad_request(failure: MullError, status: int, kind: type[MullError]) -> MullError:
    """Return the failure that came of an answer as one of `kind` where the engine found the request at fault."""
    return kind(failure.message, hint=failure.hint) if status == 400 and type(failure) is EngineError else failure


def aborted(engine: str) -> EngineUnavailable:
    """Name a request that the engine ended although nobody asked it to."""
    return EngineUnavailable(f"The {engine} aborted our request.", hint="Is it shutting down?")


def unusable(engine: str, what: str, *, hint: str = DOCTOR) -> EngineError:
    """Name an answer that came whole and cannot be used."""
    return EngineError(f"The {engine} {what}.", hint=hint)


def rubbish(engine: str, what: str, *, hint: str = DOCTOR) -> EngineError:
    """Name an answer that no engine in its senses gives."""
    failure = unusable(engine, what, hint=hint)
    failure.elsewhere = True
    return failure


def _untouched(failure: EngineUnavailable) -> EngineUnavailable:
    failure.begun = False
    return failure


def _message(body: bytes) -> str:
    """Return the engine's own words, cut to a length that fits a log line."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        parsed = None
    text = body.decode("utf-8", "replace")
    if isinstance(parsed, dict):
        error = parsed.get("error", parsed)
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    return " ".join(text.split())[:300] or "no reason given"
