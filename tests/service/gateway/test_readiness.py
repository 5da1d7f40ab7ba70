import asyncio

import httpx
from fake_workers import FakeWorkers

from service.errors import EngineUnavailable


async def test_alive_without_workers(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """A process that runs is alive, whatever the engines do."""
    workers.ready_error = EngineUnavailable("gone")
    assert (await http.get("/healthz")).status_code == 200


async def test_ready_when_every_engine_answered(http: httpx.AsyncClient) -> None:
    """Ready, once every engine has done its work; a cache is not needed for that."""
    response = await http.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "cache": "off"}


async def test_not_ready_names_the_part(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """One engine that cannot answer makes a 503 that names it."""
    workers.problems = [EngineUnavailable("The reward model r cannot be reached.")]
    response = await http.get("/readyz")
    assert response.status_code == 503
    assert "reward model r cannot be reached" in response.json()["error"]["message"]
    assert response.headers["retry-after"]


async def test_not_ready_without_workers(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Without workers nothing is ready."""
    workers.ready_error = EngineUnavailable("The search workers cannot be reached.")
    response = await http.get("/readyz")
    assert response.status_code == 503
    assert "cannot be reached" in response.json()["error"]["message"]


async def test_many_askers_share_one_answer(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Probes that come together cost the engines one generation."""
    await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
    await http.get("/readyz")
    assert workers.asked_ready == 1
