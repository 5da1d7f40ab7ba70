"""Request bodies read strictly: bounded in size, JSON, without NaN, repeated keys or broken text."""

import json
from typing import Any, NoReturn

from starlette.requests import Request

from service.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType


async def read_json(request: Request, max_bytes: int) -> dict[str, Any]:
    """Return the body, a JSON object, as plain data.

    Raises `UnsupportedMediaType`, `RequestTooLarge` (before the rest of the body is read) or `InvalidRequest`.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(f"The body's content type is {kind!r}.", hint="Send application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise RequestTooLarge(
                f"The body is longer than {max_bytes} bytes.", hint="Shorten it, or raise gateway.max_body_bytes."
            )
    return parse(bytes(body))


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
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} is given twice")
        data[key] = value
    return data


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
