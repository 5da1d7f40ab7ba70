"""`python -m service.gateway --host H --port P`: the gateway in uvicorn, as `mull up` runs it."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from service.gateway.http1 import Protocol

KEEP_ALIVE_S = 75
"""Longer than the pools of httpx and openai keep a connection, or a request meets one that is just being closed."""
FAREWELL_S = 5


def config(app: Callable[..., Any] | str, host: str, port: int) -> uvicorn.Config:
    """Return how uvicorn serves the application that `app` makes."""
    return uvicorn.Config(
        app,
        factory=True,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=FAREWELL_S,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server = uvicorn.Server(config("service.gateway.app:create_app", arguments.host, arguments.port))
    server.run()
    if not server.started:
        sys.exit(1)
