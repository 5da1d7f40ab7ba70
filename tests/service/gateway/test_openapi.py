"""/openapi.json against what the gateway does: its examples are sent, its statuses brought about."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fake_workers import FakeWorkers, settings

from service.errors import EngineError, EngineUnavailable, MullError, NoAnswer, Overloaded
from service.gateway.app import create_app

DOCUMENT: dict[str, Any] = create_app(settings(), FakeWorkers()).openapi()
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}]}
POSTS = ["/v1/chat/completions", "/v1/completions", "/v1/score"]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def examples() -> Iterator[Any]:
    for path, _, operation in operations():
        if "requestBody" in operation:
            for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
                yield pytest.param(path, example["value"], id=f"{path}: {name}")


def validate(schema: dict[str, Any], value: Any) -> None:
    """Raises what says where `value` is not as the document's `schema` says."""
    jsonschema_rs.validate(schema | {"components": DOCUMENT["components"]}, value)


def assert_as_documented(path: str, method: str, response: httpx.Response) -> None:
    """The status, the content type, the body and the headers are those of the document."""
    documented = DOCUMENT["paths"][path][method]["responses"]
    assert str(response.status_code) in documented, response.text
    said = documented[str(response.status_code)]
    kind = response.headers["content-type"].partition(";")[0]
    assert kind in said["content"]
    if kind == "application/json":
        validate(said["content"][kind]["schema"], response.json())
    for name, header in said["headers"].items():
        assert name in response.headers or not header.get("required")


@pytest.mark.parametrize(("path", "body"), list(examples()))
async def test_example_is_answered(http: httpx.AsyncClient, path: str, body: Any) -> None:
    """Each example fits its schema, and is answered as the document says."""
    operation = DOCUMENT["paths"][path]["post"]
    validate(operation["requestBody"]["content"]["application/json"]["schema"], body)
    response = await http.post(path, json=body)
    assert response.status_code == 200, response.text
    assert_as_documented(path, "post", response)


NEEDS_RAY = "/metrics/workers"
GETS = [path for path, method, _ in operations() if method == "get" and "{" not in path and path != NEEDS_RAY]


@pytest.mark.parametrize("path", GETS)
async def test_get_is_answered(http: httpx.AsyncClient, path: str) -> None:
    """Each GET, with the examples of its parameters, is answered as the document says."""
    parameters = DOCUMENT["paths"][path]["get"].get("parameters", ())
    query = {p["name"]: p["example"] for p in parameters if "example" in p}
    response = await http.get(path, params=query)
    assert response.status_code == 200, response.text
    assert_as_documented(path, "get", response)


@pytest.mark.parametrize(("path", "method"), [(path, method) for path, method, _ in operations()])
def test_example_of_an_answer_fits(path: str, method: str) -> None:
    """The examples of answers, of errors as well, fit their schemas; every answer in JSON has one."""
    for status, response in DOCUMENT["paths"][path][method]["responses"].items():
        for kind, content in response["content"].items():
            assert content["schema"], (path, status)
            if kind == "application/json" and "example" in content:
                validate(content["schema"], content["example"])
            assert status == "200" or content["example"]["error"]["message"]


def test_every_field_is_described() -> None:
    """No field of a request or an answer is left without a word, except the constant name of a strategy."""
    silent = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, declared in schema.get("properties", {}).items()
        if not declared.get("description")
    ]
    assert silent == []


def test_nothing_is_documented_that_nobody_uses() -> None:
    """Every schema is referred to by a path, directly or by way of others."""
    schemas = DOCUMENT["components"]["schemas"]
    seen: set[str] = set()
    texts = [json.dumps(DOCUMENT["paths"])]
    while texts:
        text = texts.pop()
        for name in set(schemas) - seen:
            if f'"#/components/schemas/{name}"' in text:
                seen.add(name)
                texts.append(json.dumps(schemas[name]))
    assert set(schemas) - seen == set()


ERRORS = [
    (400, {"json": CHAT | {"tempature": 1}}, None),
    (404, {"json": CHAT | {"model": "huge"}}, None),
    (413, {"content": b" " * 2_000_000, "headers": {"content-type": "application/json"}}, None),
    (415, {"data": {"model": "tiny"}}, None),
    (500, {"json": CHAT}, RuntimeError("secret")),
    (502, {"json": CHAT}, EngineError("Nonsense.")),
    (503, {"json": CHAT}, EngineUnavailable("Down.")),
    (503, {"json": CHAT}, Overloaded("Full.")),
    (504, {"json": CHAT}, NoAnswer("Nothing yet.")),
]


@pytest.mark.parametrize(("status", "request_", "error"), ERRORS, ids=[str(e[0]) for e in ERRORS])
async def test_error_is_as_documented(
    http: httpx.AsyncClient, workers: FakeWorkers, status: int, request_: dict[str, Any], error: MullError | None
) -> None:
    """Each status that a chat may end with is brought about, with the body and the headers that are promised."""
    workers.error = error
    response = await http.post("/v1/chat/completions", **request_)
    assert response.status_code == status, response.text
    assert_as_documented("/v1/chat/completions", "post", response)


async def test_unknown_trace_is_as_documented(http: httpx.AsyncClient) -> None:
    """Without Redis no trace is found, and the answer says why."""
    response = await http.get("/v1/traces/5d3c")
    assert response.status_code == 404
    assert "no Redis" in response.json()["error"]["message"]
    assert_as_documented("/v1/traces/{id}", "get", response)
