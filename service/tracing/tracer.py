"""What makes the spans of one process, and sends them off beside its work."""

import asyncio
from importlib.metadata import version
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from service.search.request import SearchRequest
from service.search.score_request import ScoreRequest
from service.tracing.carried import Headers
from service.tracing.facts import asked
from service.tracing.settings import TracingSettings
from service.tracing.spans import SearchSpan, ServedSpan
from service.tracing.w3c import context_of

FAREWELL_S, POLL_S = 2.0, 0.02
"""How long the last spans of a process may take to be sent, and how often it is looked whether they have been."""


class Tracing:
    """The spans of one process, `mull-{role}` in its traces; `processor` takes those that have ended.

    Sampling, and whatever else there is to choose, goes by OpenTelemetry's own variables. Nothing here is global.
    """

    def __init__(self, role: str, processor: SpanProcessor) -> None:
        own = Resource.create(
            {"service.name": f"mull-{role}", "service.namespace": "mull", "service.version": version("mull")}
        )
        named = OTELResourceDetector().detect()  # once more: what the operator calls it comes before what we do
        self._provider = TracerProvider(resource=own.merge(named), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("mull", version("mull"))

    def request(self, method: str, route: str | None, headers: Headers) -> ServedSpan:
        """Begin the span of an HTTP request; `headers` are those of W3C that its client has sent, good ones or not.

        Without good ones it is the first of a trace of its own.
        """
        facts = {"http.request.method": method} | ({} if route is None else {"http.route": route})
        name = method if route is None else f"{method} {route}"
        context = context_of(headers)
        first = not get_current_span(context).get_span_context().is_valid
        return ServedSpan(self._tracer.start_span(name, context, SpanKind.SERVER, facts), first=first)

    def job(self, headers: Headers) -> ServedSpan:
        """Begin the span of one attempt at a job; `headers` lead to the request that has made it."""
        return ServedSpan(self._tracer.start_span("job", context_of(headers), SpanKind.CONSUMER))

    def search(self, request: SearchRequest | ScoreRequest, deadline_s: float, headers: Headers) -> SearchSpan:
        """Begin the span of a search or of a scoring, below the one that `headers` lead to."""
        name = "search" if isinstance(request, SearchRequest) else "score"
        facts = asked(request, deadline_s)
        span = self._tracer.start_span(name, context_of(headers), SpanKind.SERVER, facts)
        return SearchSpan(span, self._tracer)

    async def aclose(self) -> None:
        """Send what has not been sent yet, for at most `FAREWELL_S` seconds: what is left then is lost."""
        # Not one of asyncio's threads: the process waits for those when it ends, however long a collector is silent.
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        due = asyncio.get_running_loop().time() + FAREWELL_S
        while sending.is_alive() and asyncio.get_running_loop().time() < due:  # noqa: ASYNC110  # a thread gives no sign
            await asyncio.sleep(POLL_S)


def exporting(settings: TracingSettings) -> SpanProcessor:
    """Return what sends spans to the collector in batches, from a thread of its own.

    Of spans that come faster than it takes them the oldest are dropped.
    """
    root = settings.endpoint
    return BatchSpanProcessor(OTLPSpanExporter(None if root is None else f"{str(root).rstrip('/')}/v1/traces"))
