import io
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kept_spans import Collector, Spans

from service.log_lines import JsonLines, log_to_stderr


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that listens."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            there.take(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        there = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield there
        server.shutdown()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Tracing that is on in every gateway and worker which is made in this process, and goes nowhere."""
    kept = Spans()
    for side in ("service.gateway.app", "service.worker"):
        monkeypatch.setattr(f"{side}.tracing_for", lambda *_: kept.tracing)
    return kept


@pytest.fixture(autouse=True)
def captured_logs() -> Iterator[None]:
    """Let pytest see the gateway's records, which otherwise end at its own handler."""
    yield
    logging.getLogger("mull").propagate = True


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what the environment of the tests says of tracing."""
    for name in (
        "OTEL_SDK_DISABLED",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_EXPORTER",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What gateway and workers log, as they write it."""
    log_to_stderr()
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    handler.setFormatter(JsonLines())
    logging.getLogger("mull").addHandler(handler)
    yield told
    logging.getLogger("mull").removeHandler(handler)
