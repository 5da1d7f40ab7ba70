"""/openapi.json: bodies and queries are read by hand, strictly, so what is said about them is put in by hand, too."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.gateway.catalogue import CatalogueAsk
from service.gateway.examples import ANSWERS, QUERIES, REQUESTS, STREAM
from service.gateway.found import Source
from service.gateway.glossary import meaning
from service.gateway.reply import ErrorBody
from service.gateway.responses_ask import UNSERVED_IN_RESPONSES, ResponsesAsk
from service.gateway.schema import ChatAsk, CompletionAsk
from service.gateway.score_ask import ScoreAsk
from service.gateway.statuses import failure, reference
from service.gateway.unsupported import UNSERVED, UNSERVED_IN_MESSAGES, Off

_BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatAsk,
    "/v1/completions": CompletionAsk,
    "/v1/score": ScoreAsk,
    "/v1/responses": ResponsesAsk,
}
_QUERIES: dict[str, type[BaseModel]] = {"/v1/strategies": CatalogueAsk}
_UNSERVED: dict[str, Mapping[str, Off]] = {
    "ChatAsk": UNSERVED,
    "CompletionAsk": UNSERVED,
    "ChatMessage": UNSERVED_IN_MESSAGES,
    "ResponsesAsk": UNSERVED_IN_RESPONSES,
}
_SEARCHES = ("/v1/chat/completions", "/v1/completions")
_STREAMS = (*_SEARCHES, "/v1/responses")
_JOB = "/v1/responses/{id}"
_NO_KEY = ("/healthz", "/readyz")

_ASKED = (400, 401, 404, 408, 413, 415, 429, 431, 500, 502, 503, 504)
_FAILURES: dict[str, Iterable[int]] = {
    **dict.fromkeys(_BODIES, _ASKED),
    "/v1/models": (401, 431, 500),
    "/v1/models/{id}": (401, 404, 431, 500),
    "/v1/strategies": (400, 401, 431, 500),
    _JOB: (400, 401, 404, 431, 500, 503),
    f"{_JOB}/cancel": (401, 404, 431, 500, 503),
    "/v1/traces/{id}": (401, 404, 431, 500, 503),
    "/metrics": (401, 431, 500),
    "/metrics/workers": (401, 431, 500, 503),
    "/openapi.json": (401, 431, 500),
    "/healthz": (431, 500),
    "/readyz": (431, 500, 503),
}
_EVENT = {
    "type": "object",
    "description": "With `stream`: OpenAI's own chunks or events, each as one server-sent event.",
    "properties": {
        "event": {"type": "string", "description": "The event's type; chats and completions have none."},
        "data": {"type": "string", "description": "JSON; of the last event of a chat or a completion: `[DONE]`."},
    },
    "required": ["data"],
}
_JOB_QUERY = [
    {
        "name": "stream",
        "in": "query",
        "description": "Send the events of the job, from the first, until it has ended.",
        "schema": {"enum": ["true", "false"]},
    },
    {
        "name": "starting_after",
        "in": "query",
        "description": "With `stream=true`: the number of the last event that is not wanted again.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
]
_MEMORY = {
    "name": "cache-control",
    "in": "header",
    "description": "`no-store`: nothing is read of what earlier requests have left, and nothing is kept. `no-cache`: "
    "nothing is read. `max-age=N`: no answer is taken that was found more than N seconds ago.",
    "schema": {"type": "string"},
    "example": "no-cache",
}
_INTRODUCTION = """\

Errors have one shape everywhere, OpenAI's. A path that is not listed here is a 404 and another method a 405 with
`Allow`, both in that shape; so is the 400 for what is no HTTP. A client that leaves before its answer is logged as 499.
"""


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the function that gives `app`'s description, made at its first call."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app)
        return app.openapi_schema

    return openapi


def _described(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description + _INTRODUCTION, routes=app.routes
    )
    components: dict[str, Any] = document["components"]
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schemas: dict[str, Any] = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(_schemas(ErrorBody))
    paths: dict[str, Any] = document["paths"]
    paths["/openapi.json"] = {"get": _plain("openapi", "Describe this interface.", {"type": "object"})}
    for path, model in _BODIES.items():
        schemas.update(_schemas(model))
        examples = {name: {"value": value} for name, value in REQUESTS[path].items()}
        content = {"schema": reference(model.__name__), "examples": examples}
        paths[path]["post"]["requestBody"] = {"required": True, "content": {"application/json": content}}
        paths[path]["post"]["parameters"] = [_MEMORY]
    for name, unserved in _UNSERVED.items():
        schemas[name]["properties"] |= _unserved(unserved, besides=schemas[name]["properties"])
    for field in ("strategy", "answer"):
        _or_name(schemas["MullOptions"]["properties"][field])
    for path, model in _QUERIES.items():
        paths[path]["get"]["parameters"] = list(_parameters(path, model))
    paths[_JOB]["get"]["parameters"] += _JOB_QUERY
    for path, method, operation in _operations(paths):
        _complete(path, method, operation)
    for name, schema in schemas.items():
        _explain(name, schema)
    return document


def _schemas(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of `model` and of all that it is made of, by name."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _parameters(path: str, model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    for name, field in model.model_json_schema()["properties"].items():
        parameter = {"name": name, "in": "query", "description": field.pop("description"), "schema": field}
        if name in QUERIES[path]:
            parameter["example"] = QUERIES[path][name]
        yield parameter


def _unserved(fields: Mapping[str, Off], besides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of fields that are taken only while they ask for nothing."""
    return {
        name: {"enum": [None, *off.accepted], "description": f"Not served. {off.instead}"}
        for name, off in fields.items()
        if name not in besides
    }


def _or_name(schema: dict[str, Any]) -> None:
    """Let a union of named objects be a bare name as well."""
    kinds = [kind["discriminator"]["mapping"] for kind in schema["anyOf"] if "discriminator" in kind]
    schema["anyOf"] += [{"enum": list(names)} for names in kinds]


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield path, method, operation


def _plain(name: str, summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {
        "summary": summary,
        "operationId": name,
        "responses": {"200": {"description": summary, "content": content}},
    }


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Add to an operation the answers that every endpoint, or every one of its kind, may give."""
    if path not in _NO_KEY:
        operation["security"] = [{}, {"key": []}]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            parameter["example"] = QUERIES[path][parameter["name"]]
    good = operation["responses"]["200"]
    _describe_good(path, method, good)
    operation["responses"] = responses = {"200": good}
    for status in _FAILURES[path]:
        responses[str(status)] = failure(status)
    for written, response in responses.items():
        response["headers"] = _headers(path, int(written))


def _describe_good(path: str, method: str, good: dict[str, Any]) -> None:
    content = good["content"]
    good["description"] = "The answer."
    if path in ("/metrics", "/metrics/workers"):
        content.clear()
        content["text/plain"] = {"schema": {"type": "string"}}
    elif path in ANSWERS:
        content["application/json"]["example"] = ANSWERS[path]
    match path:
        case "/healthz":
            content["application/json"]["schema"] = _object(alive={"const": True})
        case "/readyz":
            content["application/json"]["schema"] = _object(
                ready={"const": True}, cache={"enum": ["on", "off", "down"]}
            )
    if path in _STREAMS or (path, method) == (_JOB, "get"):
        content["text/event-stream"] = {"schema": _EVENT, "example": STREAM}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    for name, schema in properties.items():
        schema["description"] = meaning("", name)
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _headers(path: str, status: int) -> dict[str, Any]:
    """Return the headers of an answer; those that are `required` are always there."""
    text = {"type": "string"}
    headers: dict[str, Any] = {
        "x-request-id": {
            "description": "The request's id: the one that was sent, if it is harmless, or a new one.",
            # The server itself refuses headers that are too long: nothing has been read of them.
            "required": status != HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "schema": text,
        }
    }
    if path in _STREAMS and status == HTTPStatus.OK:
        age = {"type": "integer", "minimum": 0}
        headers["x-mull-cache"] = {
            "description": "Where the answer comes from, as `mull.cache`; of a stream as far as it is known at first.",
            "schema": {"enum": list(get_args(Source))},
        }
        headers["age"] = {"description": "Of a kept answer: seconds since it was found.", "schema": age}
    if path in _BODIES and status in (HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS):
        for what in ("requests", "tokens"):
            for part, meant in (("limit", "allowed"), ("remaining", "left"), ("reset", "the time until it is full")):
                description = f"Of the key's {what}: {meant}. Where the key has such a quota."
                headers[f"x-ratelimit-{part}-{what}"] = {"description": description, "schema": text}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        wait = {"type": "integer", "minimum": 1}
        headers["retry-after"] = {"description": "Seconds to wait.", "required": True, "schema": wait}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = {"description": "How to show a key.", "required": True, "schema": text}
    return headers


def _explain(name: str, schema: dict[str, Any]) -> None:
    """Describe the fields that do not describe themselves, and drop titles, which repeat the names."""
    schema.pop("title", None)
    for field, declared in schema.get("properties", {}).items():
        declared.pop("title", None)
        if "description" not in declared and (text := meaning(name, field)) is not None:
            declared["description"] = text
