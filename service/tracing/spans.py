"""The spans of what the gateway serves and of what a worker searches."""

from dataclasses import replace
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, Tracer, format_trace_id, set_span_in_context

from service.search.driver import Engines
from service.search.ports import Scorer
from service.search.request import SearchResult
from service.search.score_request import ScoreResult
from service.tracing.engines import TracedPolicy, TracedScorer
from service.tracing.facts import Facts, judged, used
from service.tracing.failed import failed
from service.tracing.w3c import headers_of

CLIENT_ERROR, SERVER_ERROR = 400, 500
NOBODYS_FAULT = "ClientGone"


class ServedSpan:
    """The span of one HTTP request, or of one job: `headers` lead to it, `trace_id` is 32 hexadecimal digits.

    `first`: nobody has begun the trace before.
    """

    def __init__(self, span: Span, *, first: bool = False) -> None:
        self.first = first
        self._span = span
        self.headers = headers_of(span)
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    def tell(self, facts: Facts) -> None:
        """Add to what is said of it."""
        self._span.set_attributes(facts)

    def fail(self, kind: type[Exception]) -> None:
        """Say that a job has ended with an error of that class."""
        failed(self._span, kind)

    def end(self, *, status: int | None = None, error: str | None = None) -> None:
        """End it, once. `error` is the class of the error that an answer tells; whose it is to mend says `status`."""
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)
        if error is not None:
            self._span.set_attribute("error.type", error)
            # After a status that was good a stream has broken off.
            theirs = status is not None and CLIENT_ERROR <= status < SERVER_ERROR
            if error != NOBODYS_FAULT and not theirs:
                self._span.set_status(StatusCode.ERROR)
        self._span.end()


class SearchSpan:
    """The span of one search, or of one scoring, in a worker: it lasts as long as the context."""

    def __init__(self, span: Span, tracer: Tracer) -> None:
        self._span = span
        self._tracer = tracer
        self._context: Context = set_span_in_context(span)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, Exception):
            failed(self._span, kind)
        elif kind is not None:
            self._span.set_attribute("mull.stopped_by", "cancelled")
        self._span.end()

    def engines(self, engines: Engines, policy: str, reward: str | None) -> Engines:
        """Return the same engines with spans for what they are asked, under the names that the configuration gives."""
        traced = replace(engines, policy=TracedPolicy(engines.policy, self._tracer, self._context, policy))
        if engines.scorer is None or reward is None:
            return traced
        return replace(traced, scorer=self.scorer(engines.scorer, reward))

    def scorer(self, scorer: Scorer, name: str) -> Scorer:
        """Return the same reward model with spans for what it is asked."""
        return TracedScorer(scorer, self._tracer, self._context, name)

    def found(self, result: SearchResult) -> None:
        """Say what came of a search; the tokens are those of its whole usage, what earlier searches had paid of it."""
        self._span.set_attributes({"mull.stopped_by": result.stopped_by, **used(result.usage)})
        if result.continued is not None:
            paid = result.continued.policy
            self._span.set_attribute("mull.policy.continued_tokens", paid.kept + paid.discarded)

    def scored(self, result: ScoreResult) -> None:
        """Say what came of a scoring."""
        self._span.set_attributes(judged(result.usage))
