"""What each failing status means, for /openapi.json, with an example of its body."""

from typing import Any

# Status: what it means, and an error's message, type, param and code.
STATUSES: dict[int, tuple[str, tuple[str, str, str | None, str]]] = {
    400: (
        "The request must change; the message says how.",
        ("There is no field `tempature`.", "invalid_request_error", "tempature", "InvalidRequest"),
    ),
    401: (
        "This gateway asks for an API key, and this is none of them.",
        ("An API key is needed.", "invalid_request_error", None, "invalid_api_key"),
    ),
    404: (
        "There is no such model, or no such trace (any more).",
        ("There is no model 'huge'. Known: tiny.", "invalid_request_error", "model", "UnknownModel"),
    ),
    408: (
        "The body did not come in time; the connection is closed.",
        ("The body has not arrived within 10 s.", "invalid_request_error", None, "RequestTimeout"),
    ),
    413: (
        "The body is too long; the connection is closed.",
        ("The body is longer than 1000000 bytes.", "invalid_request_error", None, "RequestTooLarge"),
    ),
    415: (
        "The body is not JSON, or is compressed.",
        ("The body's content type is 'text/plain'.", "invalid_request_error", None, "UnsupportedMediaType"),
    ),
    429: (
        "The key has used up what it may use for now.",
        ("The key has no requests left this minute.", "rate_limit_error", None, "rate_limit_exceeded"),
    ),
    431: (
        "Path and headers are too long.",
        ("The headers are longer than 65536 bytes.", "invalid_request_error", None, "HeadersTooLarge"),
    ),
    500: ("A mistake of Mull's.", ("Mull made a mistake.", "internal_error", None, "MullError")),
    502: (
        "An engine answered something that cannot be used.",
        ("The policy sent no usage.", "engine_error", None, "EngineError"),
    ),
    503: (
        "An engine, the workers or Redis are down or full.",
        ("All search workers are full. Try again in a moment.", "overloaded_error", None, "Overloaded"),
    ),
    504: (
        "The time was over, or the budget used up, before there was anything to return.",
        ("The deadline of 2 s passed.", "no_answer_error", "mull.budget.deadline_ms", "NoAnswer"),
    ),
}


def reference(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def failure(status: int) -> dict[str, Any]:
    """Return the description of an answer with that status, less its headers."""
    description, (message, kind, param, code) = STATUSES[status]
    error = {"message": message, "type": kind, "param": param, "code": code, "trace_id": "5d3c"}
    content = {"schema": reference("ErrorBody"), "example": {"error": error}}
    return {"description": description, "content": {"application/json": content}}
