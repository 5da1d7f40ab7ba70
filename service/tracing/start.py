"""Switching tracing on, in each process for itself."""

import os
from typing import TYPE_CHECKING

from service.errors import ConfigError
from service.tracing.settings import TracingSettings

if TYPE_CHECKING:
    from service.tracing.tracer import Tracing

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


def tracing_for(settings: TracingSettings, role: str) -> "Tracing | None":
    """Return what makes the spans of this process, the `mull-{role}` of a trace; `None` where tracing is off.

    Raises `ConfigError` where OpenTelemetry's variables ask for a protocol that is not spoken.
    """
    if not settings.on:
        return None
    name = next((name for name in _PROTOCOLS if os.environ.get(name)), None)
    if name is not None and os.environ[name] != _SPOKEN:
        raise ConfigError(name, [f"traces are sent by {_SPOKEN}, not by {os.environ[name]}: name an endpoint of that"])
    from service.tracing.tracer import Tracing, exporting  # only here: nobody waits for it where it is off

    return Tracing(role, exporting(settings))
