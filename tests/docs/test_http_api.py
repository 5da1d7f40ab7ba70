"""docs/http-api.md says what /openapi.json says: every endpoint, field, status and error, and none besides."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from field_tables import PAGE, description, filled

from service import errors
from service.errors import ConfigError, MullError, NotAuthorized, StackError

TEXT = PAGE.read_text()
DOCUMENT = description()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
NOT_OVER_HTTP = (NotAuthorized, ConfigError, StackError)
"""Of the first only the children are raised; the others end a command."""


def reached(schema: Any) -> Iterator[str]:
    """Yield the names of the schemas that `schema` is made of."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            yield name
            yield from reached(SCHEMAS[name])
        else:
            for part in schema.values():
                yield from reached(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from reached(part)


REQUESTS = sorted(
    {
        name
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        for name in reached(operation.get("requestBody", {}))
    }
)


def test_tables_are_up_to_date() -> None:
    """If this fails: `python tests/docs/field_tables.py`."""
    assert filled(TEXT, DOCUMENT) == TEXT


@pytest.mark.parametrize("name", REQUESTS)
def test_every_field_of_a_request_is_on_the_page(name: str) -> None:
    """Of every schema that a request is made of."""
    assert [field for field in SCHEMAS[name]["properties"] if f"`{field}`" not in TEXT] == []


def test_every_endpoint_is_on_the_page() -> None:
    """In the table, and none besides."""
    there = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert set(re.findall(r"^\| `([A-Z]+) (\S+)` \|", TEXT, re.MULTILINE)) == there


def rows() -> dict[str, set[str]]:
    """Return the codes in the table of errors, by status."""
    return {
        status: set(re.findall(r"`(\w+)`", codes))
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", TEXT, re.MULTILINE)
    }


def test_every_status_is_on_the_page() -> None:
    """Those of the description, and the one for a wrong method."""
    there = {
        s for methods in DOCUMENT["paths"].values() for operation in methods.values() for s in operation["responses"]
    }
    assert set(rows()) == there - {"200"} | {"405"}


def test_every_error_is_on_the_page() -> None:
    """Under its status, by the code that its body has."""
    found: dict[str, set[str]] = {"405": set()}
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, MullError) and error not in NOT_OVER_HTTP:
            found.setdefault(str(error.status), set()).add(error.code or error.__name__)
    assert rows() == found


def test_every_header_is_on_the_page() -> None:
    """That an answer may have."""
    headers = {
        header
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for header in response.get("headers", {})
    }
    assert {header for header in headers if f"`{header}`" not in TEXT} == set()
