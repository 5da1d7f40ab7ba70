"""Spans that are kept in memory, and a collector that keeps what it is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.tracing.tracer import Tracing


class Spans:
    """A `Tracing` whose spans are at hand as soon as they have ended."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.tracing = Tracing("test", SimpleSpanProcessor(self._kept))

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """All of them, in the order in which they ended."""
        return self._kept.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of one kind."""
        return [span for span in self.ended if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """The only one of its kind."""
        (span,) = self.named(name)
        return span


@dataclass(frozen=True, slots=True)
class Sent:
    """A span as a collector has got it; ids are hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    facts: dict[str, object]


@dataclass
class Collector:
    """Takes traces as an OpenTelemetry collector does, at `url`."""

    url: str
    spans: list[Sent] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def take(self, path: str, body: bytes) -> None:
        """Keep what has been sent."""
        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _facts(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    self.spans.append(Sent(str(service), span.name, *ids, _facts(span.attributes)))


def _facts(attributes: Iterable[Any]) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
