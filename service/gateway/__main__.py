"""`python -m service.gateway --host H --port P`: the gateway in uvicorn, as `mull up` runs it."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from service.gateway.app import create_app
from service.gateway.http1 import Protocol
from service.settings_file import load_settings

KEEP_ALIVE_S = 75
"""Longer than the pools of httpx and openai keep a connection, or a request meets one that is just being closed."""


def config(app: Callable[..., Any] | str, host: str, port: int, drain_s: int) -> uvicorn.Config:
    """Return how uvicorn serves the application that `app` makes. `drain_s` is as in `GatewaySettings`."""
    return uvicorn.Config(
        app,
        factory=True,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    settings = load_settings()
    app = partial(create_app, settings)
    server = uvicorn.Server(config(app, arguments.host, arguments.port, settings.gateway.drain_s))
    server.run()
    if not server.started:
        sys.exit(1)
