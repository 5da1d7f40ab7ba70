"""A server that speaks as much of Prometheus' HTTP API as the report asks for, and says what it is told to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]
"""Status, and the body: JSON, or the bytes themselves."""
Say = Callable[[str, dict[str, str]], Answer]


@contextlib.contextmanager
def serving(say: Say) -> Iterator[str]:
    """Serve in a thread and yield the root. `say` is given path and parameters of each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            status, body = say(asked.path, {name: values[0] for name, values in parse_qs(asked.query).items()})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def busy(path: str, asked: dict[str, str]) -> Answer:
    """Answer as a Prometheus that scrapes every 5 s and has two series of everything, at 0.25 and 0.5."""
    if path.endswith("/targets"):
        return 200, _success({"activeTargets": [{"scrapeInterval": "5s"}, {"scrapeInterval": "1s"}]})
    names = [{"strategy": "best_of_n", "kind": "kept"}, {"strategy": "<b>&", "kind": "discarded"}]
    if path.endswith("/query"):
        found = [{"metric": name, "value": [1000, f"{0.5 / n}"]} for n, name in enumerate(names, 1)]
        return 200, _success({"resultType": "vector", "result": found})
    times = [float(asked["start"]) + n * float(asked["step"]) for n in range(4)]
    found = [{"metric": name, "values": [[at, f"{0.5 / n}"] for at in times]} for n, name in enumerate(names, 1)]
    return 200, _success({"resultType": "matrix", "result": found})


def idle(path: str, asked: dict[str, str]) -> Answer:
    """Answer as a Prometheus that has seen nothing, and does not tell what it scrapes."""
    if path.endswith("/targets"):
        return 404, {"status": "error", "errorType": "not_found", "error": "no such endpoint"}
    kind = "vector" if path.endswith("/query") else "matrix"
    return 200, _success({"resultType": kind, "result": []})


def _success(data: Any) -> dict[str, Any]:
    return {"status": "success", "data": data}
