"""The chunks of a stream in OpenAI's shape."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Chunk = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatChunks:
    """Makes `chat.completion.chunk`s; with `include_usage` each has a `usage`, as OpenAI's do: null but in the last."""

    trace_id: str
    model: str
    include_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def role(self, index: int) -> Chunk:
        """Return the first chunk of a choice."""
        return self._choice(index, {"role": "assistant", "content": ""})

    def reasoning(self, text: str) -> Chunk:
        """Return a piece of what is not part of the answer, under both of the names that clients read."""
        return self._choice(0, {"reasoning": text, "reasoning_content": text})

    def text(self, index: int, text: str, logprobs: Any = None) -> Chunk:
        """Return a piece of a choice's text."""
        return self._choice(index, {"content": text}, logprobs)

    def end(self, index: int, finish_reason: str, logprobs: Any = None) -> Chunk:
        """Return the last chunk of a choice."""
        return self._choice(index, {}, logprobs, finish_reason)

    def event(self, event: Mapping[str, Any]) -> Chunk:
        """Return an event of the search in a chunk that says nothing to a client that does not know of it.

        It has a choice, with an empty delta: many clients read the first choice of every chunk.
        """
        return self._choice(0, {}) | {"mull": {"event": event}}

    def usage(self, usage: Mapping[str, Any]) -> Chunk:
        """Return the chunk that has the usage and no choice."""
        return self._chunk([]) | {"usage": usage}

    def _choice(
        self, index: int, delta: Mapping[str, Any], logprobs: Any = None, finish_reason: str | None = None
    ) -> Chunk:
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[dict[str, Any]]) -> Chunk:
        chunk: Chunk = {
            "id": f"chatcmpl-{self.trace_id}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        return chunk | {"usage": None} if self.include_usage else chunk


@dataclass(frozen=True, slots=True)
class TextChunks(ChatChunks):
    """Makes chunks of a `text_completion`, which has neither roles nor reasoning."""

    def _choice(
        self, index: int, delta: Mapping[str, Any], logprobs: Any = None, finish_reason: str | None = None
    ) -> Chunk:
        text = delta.get("content", "")
        return self._chunk([{"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _chunk(self, choices: list[dict[str, Any]]) -> Chunk:
        chunk = ChatChunks._chunk(self, choices)
        return chunk | {"id": f"cmpl-{self.trace_id}", "object": "text_completion"}
