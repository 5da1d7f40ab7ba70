"""What a span says of a failure."""

from opentelemetry.trace import Span, StatusCode

from service.errors import InvalidRequest


def failed(span: Span, kind: type[BaseException]) -> None:
    """Say what a span has failed with: the class alone, since the error's text may quote a question.

    What the client must mend is no failure of ours.
    """
    span.set_attribute("error.type", kind.__name__)
    if not issubclass(kind, InvalidRequest):
        span.set_status(StatusCode.ERROR)
