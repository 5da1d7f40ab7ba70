"""When traces are sent, and where to."""

import subprocess
import sys
import time

import pytest
from kept_spans import Collector
from pydantic import ValidationError

from service.errors import ConfigError
from service.settings import TracingSettings
from service.tracing import tracer
from service.tracing.carried import along, ids
from service.tracing.start import tracing_for

SAMPLED = 1
ON = TracingSettings.model_validate({"endpoint": "http://127.0.0.1:9"})


def test_it_is_off_by_default() -> None:
    """Without an endpoint there is nothing: no object, no header, no field in a log."""
    assert tracing_for(TracingSettings(), "gateway") is None
    assert (along(), ids()) == ((), {})


def test_nothing_of_it_is_loaded_while_it_is_off() -> None:
    """A gateway and a worker that trace nothing do not wait for it."""
    program = (
        "import sys; from service.tracing.start import tracing_for; import service.engines.replica\n"
        "from service.settings import TracingSettings; assert tracing_for(TracingSettings(), 'gateway') is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_standard_variables_switch_it_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As for any program that knows OpenTelemetry."""
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert TracingSettings().on


@pytest.mark.parametrize(("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_standard_variables_switch_it_off(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Whatever the configuration says."""
    assert ON.on
    monkeypatch.setenv(name, value)
    assert not ON.on


def test_protocol_that_is_not_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than to send what nobody understands."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent by http/protobuf, not by grpc"):
        tracing_for(ON, "gateway")


def test_endpoint_is_a_url() -> None:
    """A host and a port alone are refused."""
    with pytest.raises(ValidationError):
        TracingSettings.model_validate({"endpoint": "collector:4318"})


async def test_spans_reach_the_collector(collector: Collector) -> None:
    """All that have ended, when the process says farewell; each process by its own name."""
    tracing = tracing_for(TracingSettings.model_validate({"endpoint": collector.url}), "gateway")
    assert tracing is not None
    served = tracing.request("POST", "/v1/score", {})
    served.end(status=200)
    await tracing.aclose()
    (span,) = collector.spans
    assert collector.paths == {"/v1/traces"}
    assert (span.service, span.name, span.trace_id) == ("mull-gateway", "POST /v1/score", served.trace_id)


async def test_operator_names_the_service(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry's variable comes before our own name."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "math")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    tracing = tracing_for(TracingSettings(), "worker")
    assert tracing is not None
    tracing.request("GET", None, {}).end(status=200)
    await tracing.aclose()
    assert [span.service for span in collector.spans] == ["math"]


async def test_silent_collector_does_not_hold_a_process_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been sent in time is lost."""
    monkeypatch.setattr(tracer, "FAREWELL_S", 0.05)
    tracing = tracing_for(ON, "gateway")
    assert tracing is not None
    tracing.request("GET", None, {}).end(status=200)
    begun = time.monotonic()
    await tracing.aclose()
    assert time.monotonic() - begun < 5.0


async def test_sampling_goes_by_the_standard_variables(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not sampled has its ids all the same, and tells its workers not to sample either."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    tracing = tracing_for(TracingSettings.model_validate({"endpoint": collector.url}), "gateway")
    assert tracing is not None
    served = tracing.request("GET", None, {})
    served.end(status=200)
    await tracing.aclose()
    assert collector.spans == []
    _, trace_id, _, flags = served.headers["traceparent"].split("-")
    assert trace_id == served.trace_id
    assert not int(flags, 16) & SAMPLED
