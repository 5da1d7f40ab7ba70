"""The events of a response's stream, in OpenAI's order and names. Their numbers are their places in it."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from service.gateway.responses_reply import OutputMessage, OutputText, ReasoningOutput, ResponseReply, SummaryText

_PIECE = 64
"""Characters of one piece of the answer."""

LINE = "response.reasoning_summary_text.delta"
"""The type of the events that `line` returns."""

Event = dict[str, Any]


def opening(response: ResponseReply) -> Iterator[Event]:
    """Return the events of a job that has been accepted."""
    yield _whole("response.created", response)
    yield _whole("response.queued", response)


def starting(response: ResponseReply) -> Event:
    """Return the event of a job whose search begins."""
    return _whole("response.in_progress", response)


def telling(item: ReasoningOutput) -> Iterator[Event]:
    """Return the events that come before the first line about a search; `item` is empty yet."""
    yield {"type": "response.output_item.added", "output_index": 0, "item": item.model_dump(mode="json")}
    yield _of(item, "response.reasoning_summary_part.added", part=SummaryText(text="").model_dump(mode="json"))


def line(item: ReasoningOutput, text: str) -> Event:
    """Return the event of one line about a search."""
    return _of(item, LINE, delta=text)


def ending(response: ResponseReply) -> Iterator[Event]:
    """Return the events from the answer, if there is one, to the end."""
    for index, item in enumerate(response.output):
        yield from _told(item) if isinstance(item, ReasoningOutput) else _message(item, index)
    match response.status:
        case "completed" | "failed":
            yield _whole(f"response.{response.status}", response)
        case _:
            # OpenAI has no event for a cancelled response: it ends incomplete, and its status says why.
            yield _whole("response.incomplete", response)


def texts(events: Iterable[Event]) -> tuple[str, ...]:
    """Return events as JSON texts, in ASCII: some clients end lines at characters that JSON leaves as they are."""
    return tuple(json.dumps(event, separators=(",", ":")) for event in events)


def _told(item: ReasoningOutput) -> Iterator[Event]:
    part = item.summary[0]
    yield _of(item, "response.reasoning_summary_text.done", text=part.text)
    yield _of(item, "response.reasoning_summary_part.done", part=part.model_dump(mode="json"))
    yield {"type": "response.output_item.done", "output_index": 0, "item": item.model_dump(mode="json")}


def _message(item: OutputMessage, index: int) -> Iterator[Event]:
    place = {"item_id": item.id, "output_index": index, "content_index": 0}
    part, empty = item.content[0], OutputText(text="").model_dump(mode="json")
    new = item.model_copy(update={"status": "in_progress", "content": []})
    yield {"type": "response.output_item.added", "output_index": index, "item": new.model_dump(mode="json")}
    yield {"type": "response.content_part.added", **place, "part": empty}
    for start in range(0, len(part.text), _PIECE):
        piece = part.text[start : start + _PIECE]
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part.text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part.model_dump(mode="json")}
    yield {"type": "response.output_item.done", "output_index": index, "item": item.model_dump(mode="json")}


def _of(item: ReasoningOutput, type: str, **fields: Any) -> Event:
    return {"type": type, "item_id": item.id, "output_index": 0, "summary_index": 0, **fields}


def _whole(type: str, response: ResponseReply) -> Event:
    return {"type": type, "response": response.model_dump(mode="json")}
