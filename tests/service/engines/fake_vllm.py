"""A vLLM server of words: every word is a token, numbered as it first comes up. Only what the clients use is there."""

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx

Json = dict[str, Any]
Reply = Callable[[Json], httpx.Response]


class FakeVllm:
    """Answers as vLLM does; `replies[path]` replaces an answer, `asked` remembers every request."""

    def __init__(self, *, name: str, context: int = 512) -> None:
        self.name = name
        self.context = context
        self.words: list[str] = []
        self.asked: list[tuple[str, Json]] = []
        self.replies: dict[str, Reply] = {}

    def transport(self) -> httpx.MockTransport:
        """Return what an `engine_client` takes in place of the network."""
        return httpx.MockTransport(self._answer)

    def bodies(self, path: str) -> list[Json]:
        """Return what was sent to `path`, in order."""
        return [body for asked, body in self.asked if asked == path]

    def ids(self, text: str) -> list[int]:
        """Return the token ids of text."""
        found = re.findall(r"\n\n|\S+", text)
        self.words += [word for word in dict.fromkeys(found) if word not in self.words]
        return [self.words.index(word) for word in found]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        path = request.url.path
        self.asked.append((path, body))
        if path in self.replies:
            return self.replies[path](body)
        match path:
            case "/v1/models":
                return httpx.Response(200, json={"data": [{"id": self.name, "max_model_len": self.context}]})
            case "/tokenize":
                text = body.get("prompt") or "".join(f"[{m['role']}] {m['content']} " for m in body["messages"])
                return httpx.Response(200, json={"tokens": self.ids(text)})
            case "/detokenize":
                return httpx.Response(200, json={"prompt": " ".join(self.words[i] for i in body["tokens"])})
        return httpx.Response(404, json={"error": {"message": f"nothing at {path}"}})


class Events(httpx.AsyncByteStream):
    """Server-sent events; `end` is raised after the last of them, `closed` tells whether the client let go."""

    def __init__(self, frames: Sequence[Json | bytes], *, end: Exception | None = None) -> None:
        self.frames = frames
        self.end = end
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in self.frames:
            data = frame if isinstance(frame, bytes) else json.dumps(frame, ensure_ascii=False).encode()
            # Cut in the middle, as a network may.
            yield b"data: " + data[:7]
            yield data[7:] + b"\n\n"
        if self.end is not None:
            raise self.end

    async def aclose(self) -> None:
        self.closed = True


def delta(text: str, ids: Sequence[int], finish_reason: str | None = None) -> Json:
    """Return one event of a stream."""
    return {"choices": [{"text": text, "token_ids": list(ids), "finish_reason": finish_reason}]}


def usage(prompt: int, generated: int, cached: int | None) -> Json:
    """Return the usage object of an answer."""
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": generated, **details}}
