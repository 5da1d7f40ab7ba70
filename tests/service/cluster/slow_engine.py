"""A policy that takes its time, and counts what it really writes: by question, also of streams that are cut off."""

import asyncio
import json
from collections import Counter

from aiohttp import web
from fake_vllm import FakeVllm, Json, delta, usage

WORDS = [*["so"] * 30, r"\boxed{2}"]
TOKEN_S = 0.05


class SlowEngine(FakeVllm):
    """Answers all prompts with `WORDS`, one each `TOKEN_S`; `written` counts the tokens by the prompt's last word."""

    def __init__(self) -> None:
        super().__init__(name="slow")
        self.written: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()
        self.replies["/v1/completions"] = lambda body: _Paced(self, body)  # type: ignore[assignment]


class _Paced:
    def __init__(self, engine: SlowEngine, body: Json) -> None:
        self._engine, self._body = engine, body

    async def send(self, request: web.Request, abort: asyncio.Event) -> web.StreamResponse:
        """Write word by word until the end, or until the request is aborted or its client is gone."""
        prompt, room = self._body["prompt"], self._body["max_tokens"]
        question = self._engine.words[prompt[-1]]
        words = WORDS[:room]
        self._engine.streams[question] += 1
        response = web.StreamResponse()
        await response.prepare(request)
        count = 0
        for word in words:
            await asyncio.sleep(TOKEN_S)
            if abort.is_set():
                break
            count += 1
            self._engine.written[question] += 1
            last = count == len(words)
            reason = None if not last else "stop" if len(words) == len(WORDS) else "length"
            await _event(response, delta(f" {word}", self._engine.ids(word), reason))
        await _event(response, {**usage(len(prompt), count, 0), "choices": []})
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


async def _event(response: web.StreamResponse, data: Json) -> None:
    await response.write(b"data: " + json.dumps(data).encode() + b"\n\n")
