"""What goes along with a request that is traced, from task to task and from process to process, as plain data."""

from contextvars import ContextVar
from dataclasses import dataclass

Headers = dict[str, str]
"""A place in a trace, as W3C's headers: `traceparent`, and `tracestate` where there is one."""

here: ContextVar[Headers | None] = ContextVar("trace_context", default=None)
"""Where this task is in a trace; `None` while tracing is off."""


@dataclass(eq=False, slots=True)
class EngineCall:
    """One call to an engine that has a span: what its requests are sent with, and the server that had the last."""

    headers: Headers
    server: str | None = None


calling: ContextVar[EngineCall | None] = ContextVar("engine_call", default=None)
"""The call that this task makes; `None` while tracing is off."""


def along() -> tuple[Headers] | tuple[()]:
    """Return what a call to another process is given beside its arguments: nothing while tracing is off."""
    headers = here.get()
    return () if headers is None else (headers,)


def ids() -> dict[str, str]:
    """Return the ids of trace and span, under the names that OpenTelemetry gives them in logs; none while it is off."""
    headers = here.get()
    if headers is None:
        return {}
    _, trace_id, span_id, _ = headers["traceparent"].split("-")
    return {"trace_id": trace_id, "span_id": span_id}
