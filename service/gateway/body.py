"""Request bodies read strictly: bounded in size and time, JSON, without NaN, repeated keys or broken text."""

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import Request

from service.errors import InvalidRequest, RequestTimeout, RequestTooLarge, UnsupportedMediaType
from service.settings import GatewaySettings

_SWALLOWED = 16_000_000
"""Bytes beyond the limit that are still read: most clients look for an answer only when all is sent."""


_PLAIN = (str, int, float, type(None))
MOST_VALUES = 50_000
"""In one body. Each that is wrong costs time to be explained, and no request needs so many."""


async def read_json(request: Request, settings: GatewaySettings) -> dict[str, Any]:
    """Return the body, a JSON object, as plain data.

    Raises `UnsupportedMediaType`, `RequestTooLarge`, `RequestTimeout` after `body_timeout_s` seconds, or
    `InvalidRequest`.
    """
    _check_headers(request)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return parse(await _read(request, settings.max_body_bytes))
    except TimeoutError:
        raise RequestTimeout(
            f"The body has not arrived within {settings.body_timeout_s:g} s.",
            hint="Send it faster, or raise gateway.body_timeout_s.",
        ) from None


def parse(body: bytes) -> dict[str, Any]:
    """Return a JSON object as plain data; raises `InvalidRequest` for anything else."""
    try:
        text = body.decode("utf-8")
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        # "\ud800" is valid JSON, but no text: it could not be sent on to an engine.
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise InvalidRequest("The body is not valid UTF-8 text.", hint="Encode it as UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", hint="Send one JSON object.") from None
    if not isinstance(data, dict):
        raise InvalidRequest("The body is not a JSON object.", hint='Send {"model": …, "messages": […]}.')
    if _values(data) > MOST_VALUES:
        raise InvalidRequest(f"The body holds more than {MOST_VALUES} values.", hint="Send less at once.")
    return data


def _values(data: Any) -> int:
    """Return how many values `data` holds, itself included."""
    count, level = 0, [data]
    while level:
        count += len(level)
        holders = (value.values() if isinstance(value, dict) else value for value in level)
        level = [held for values in holders if not isinstance(values, _PLAIN) for held in values]
    return count


def _check_headers(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(f"The body's content type is {kind[:100]!r}.", hint="Send application/json.")
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise UnsupportedMediaType(f"The body's content encoding is {coding[:100]!r}.", hint="Send it as it is.")


async def _read(request: Request, max_bytes: int) -> bytes:
    # A client that asks before it sends gets its refusal instead of a "100 Continue".
    asks = "expect" in request.headers
    declared = request.headers.get("content-length", "")
    if asks and declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length <= max_bytes:
            body += chunk
        elif asks or length > max_bytes + _SWALLOWED:
            break
    if length > max_bytes:
        raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The body is longer than {max_bytes} bytes.", hint="Shorten it, or raise gateway.max_body_bytes."
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key[:100]!r} is given twice")
        data[key] = value
    return data


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
