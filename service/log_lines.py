"""What gateways and workers write to their logs: JSON lines, without a word of a question."""

import json
import logging
import traceback
from contextvars import ContextVar

from service.tracing.carried import ids

serving: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that this task serves, where it is known."""


class JsonLines(logging.Formatter):
    """One JSON object per record, with the ids of the request that is being served; `extra={"fields": {…}}` adds to it.

    Of an exception the places are told and not the text, which may quote a question.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{record.msecs:03.0f}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **({} if (id := serving.get()) is None else {"request_id": id}),
            **ids(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _places(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _places(error: BaseException) -> str:
    """Return a traceback without what the exceptions say: their classes only, the first cause first."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = _places(earlier) if earlier is not None else ""
    return f"{before}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__qualname__}\n"


def log_to_stderr() -> None:
    """Write Mull's own records to standard error as JSON lines; asked twice, it does it once."""
    logger = logging.getLogger("mull")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
