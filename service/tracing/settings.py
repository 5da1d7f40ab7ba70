"""The configuration's section `tracing`."""

import os

from pydantic import AnyHttpUrl, Field

from service.strict import Strict

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class TracingSettings(Strict):
    """OpenTelemetry's traces, sent by OTLP over HTTP; off without an endpoint.

    Whatever else there is to choose is said by OpenTelemetry's own variables, in the environment of each process.
    """

    endpoint: AnyHttpUrl | None = Field(
        None,
        description="Root of a collector, without /v1/traces; default: what OTEL_EXPORTER_OTLP_ENDPOINT says, if it "
        "says anything.",
    )

    @property
    def on(self) -> bool:
        """Whether this process is to trace, by its configuration and its environment."""
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return False
        if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
            return False
        return self.endpoint is not None or any(os.environ.get(name) for name in _ENDPOINTS)
