"""Places in a trace as W3C writes them."""

from opentelemetry.context import Context
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.carried import Headers

_W3C = TraceContextTextMapPropagator()


def headers_of(span: Span) -> Headers:
    """Return what leads to a span."""
    headers: Headers = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers


def context_of(headers: Headers) -> Context:
    """Return what `headers` lead to; of headers that lead nowhere, the beginning of a trace."""
    return _W3C.extract(headers, Context())
