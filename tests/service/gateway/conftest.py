import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fake_workers import FakeWorkers, settings

from service.gateway.app import create_app


@pytest.fixture(autouse=True)
def captured_logs() -> Iterator[None]:
    """Let pytest see the gateway's records, which otherwise end at its own handler."""
    yield
    logging.getLogger("mull").propagate = True


@pytest.fixture
def workers() -> FakeWorkers:
    """Workers that answer at once."""
    return FakeWorkers()


@pytest.fixture
async def http(workers: FakeWorkers) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway on those workers."""
    transport = httpx.ASGITransport(create_app(settings(), workers), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
        yield client
