"""What a client wants to see of a search while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequest
from service.gateway.schema import Ask, ChatAsk
from service.search.progress import Interest
from service.search.request import SearchRequest
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class StreamAsk:
    """How an answer is streamed; without an `interest` nothing is told before the search has decided."""

    include_usage: bool
    interest: Interest | None


def stream_ask(
    data: Mapping[str, Any], kind: type[Ask], request: SearchRequest, settings: Settings
) -> StreamAsk | None:
    """Return how the answer to a body, which `plan` has checked and made `request` of, is streamed, if it is.

    A search of one candidate has nothing to choose: its text is told as it is written. Raises `InvalidRequest`.
    """
    progress = (data.get("mull") or {}).get("progress")
    if not data.get("stream"):
        _check_not_streamed(data, progress)
        return None
    if progress == "reasoning" and kind is not ChatAsk:
        raise InvalidRequest(
            "A text completion has no field for reasoning.",
            hint='Ask for "events" or "none", or use /v1/chat/completions.',
            param="mull.progress",
        )
    alone = request.strategy.candidates == 1 and not request.strategy.stepwise
    if progress is None and kind is ChatAsk and not _thinks(request.model, settings):
        progress = "reasoning"
    interest = Interest(text=alone, standing=progress == "reasoning" and not alone, events=progress == "events")
    options = data.get("stream_options") or {}
    return StreamAsk(bool(options.get("include_usage")), interest if interest != Interest() else None)


def _check_not_streamed(data: Mapping[str, Any], progress: str | None) -> None:
    if data.get("stream_options") is not None:
        raise InvalidRequest(
            "`stream_options` says how to stream, and `stream` is not true.",
            hint="Send both or neither.",
            param="stream_options",
        )
    if progress not in (None, "none"):
        raise InvalidRequest(
            "Progress can be told only while the answer is streamed.",
            hint="Add `stream: true`, or send 'none'.",
            param="mull.progress",
        )


def _thinks(model: str, settings: Settings) -> bool:
    """Whether the model is configured as one that thinks by itself: there, reasoning is the policy's."""
    public = settings.models[model]
    return public.effort == "forward" or settings.policies[public.policy].steps.thinking != "tags"
