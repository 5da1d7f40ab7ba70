"""A gateway on fake workers behind a real socket, served as `mull up` serves it; and a client that writes bytes."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import uvicorn
from fake_workers import FakeWorkers

from service.gateway.__main__ import config
from service.gateway.app import create_app
from service.settings import Settings
from service.stack.ports import free_ports

LIMIT_S = 20.0


class Answer(NamedTuple):
    """One response as it came: header names in lower case, and whether the server then closed the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error of an OpenAI-shaped body."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


@contextlib.contextmanager
def gateway(settings: Settings, workers: FakeWorkers | None = None) -> Iterator[int]:
    """Serve in a thread and yield the port."""
    port = next(free_ports())
    app = partial(create_app, settings, workers or FakeWorkers())
    server = uvicorn.Server(config(app, "127.0.0.1", port, settings.gateway.drain_s))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + LIMIT_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def send(port: int, pieces: Iterable[bytes], *, pause_s: float = 0.0) -> Answer:
    """Write `pieces`, with a pause after each, as long as the server reads; return its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            if pause_s and _readable(connection, pause_s):
                break
        return _answer(connection)


def _readable(connection: socket.socket, wait_s: float) -> bool:
    """Tell whether an answer has begun to come within `wait_s` seconds."""
    connection.settimeout(wait_s)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False
    finally:
        connection.settimeout(LIMIT_S)


def _answer(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        headers = {}
        while line := lines.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, lines.read(int(headers.get("content-length", 0))))
