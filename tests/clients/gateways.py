"""Gateways in this process, whose workers have no engines: one that is overloaded at first, one that asks for keys."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from fake_workers import FakeWorkers, settings

from service.doors.keys import Quota, key_file
from service.errors import Overloaded
from service.gateway.app import create_app
from service.gateway.workers import Workers
from service.search.request import SearchRequest, SearchResult
from service.settings import Settings
from service.stack.ports import free_ports

KEYS = {"plenty": Quota(requests_per_minute=100), "spent": Quota(requests_per_minute=0)}
"""The keys of `guarded_gateway`."""


class BusyWorkers(FakeWorkers):
    """Refuse every other search; `asked_at` has the moments of all of them, by the monotonic clock."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at: list[float] = []
        self._refuse = itertools.cycle((True, False))

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Refuse, or answer at once."""
        self.asked_at.append(time.monotonic())
        if next(self._refuse):
            raise Overloaded("All workers are busy.", hint="Try again.")
        return await super().search(request, deadline_s)


@contextmanager
def busy_gateway(workers: BusyWorkers, folder: Path) -> Iterator[str]:
    """Serve a gateway on `workers` and yield its root."""
    with _served(settings(state_dir=folder), workers) as url:
        yield url


@contextmanager
def guarded_gateway(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a gateway that asks for keys; yield its root and the `KEYS`, by name."""
    guarded = settings(state_dir=folder)
    secrets = {name: key_file(guarded).add(name, quota) for name, quota in KEYS.items()}
    with _served(guarded, FakeWorkers()) as url:
        yield url, secrets


@contextmanager
def _served(served: Settings, workers: Workers) -> Iterator[str]:
    port = next(free_ports())
    server = uvicorn.Server(uvicorn.Config(create_app(served, workers), port=port, log_level="warning"))
    thread = Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
