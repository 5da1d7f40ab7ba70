"""A policy model behind a vLLM server."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from service.engines.failures import refused, unusable
from service.engines.http import EngineHttp
from service.engines.sampling import sampling_body
from service.engines.template import render
from service.engines.tokenizer import EngineTokenizer
from service.errors import EngineUnavailable, QuestionTooLong
from service.search.ports import Chunk, Sampling
from service.settings import PolicySettings

REMEMBERED_PROMPTS = 256
# Tokens per streamed event: fewer events for both sides to handle, a step told that much later at most.
STREAM_INTERVAL = 8


class VllmPolicy:
    """Implements `ports.Policy`. `http` is the engine's client, see `engine_client`."""

    def __init__(self, settings: PolicySettings, http: httpx.AsyncClient) -> None:
        self._engine = EngineHttp("policy", settings, http)
        self._tokenizer = EngineTokenizer(self._engine, size=REMEMBERED_PROMPTS)
        self._form = settings.prompt
        self._context: int | None = None

    async def open(self) -> None:
        """Learn the context length, once. Raises `EngineError` where the engine cannot tell."""
        if self._context is None:
            self._context = await self._engine.context_length()

    @property
    def context(self) -> int:
        """The longest prompt plus continuation, in tokens; known after `open`."""
        if self._context is None:
            raise RuntimeError("open() the policy before asking for its context")
        return self._context

    async def prompt_ids(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        """Return a chat under the policy's prompt form, ready to be continued.

        Raises `InvalidRequest` where the template refuses the messages, `QuestionTooLong`, or `EngineError`.
        """
        chat = _with_system(messages, self._form.system)
        if self._form.template_file is None:
            return await self._checked(await self._tokenizer.chat(chat))
        return await self._checked(await self._tokenizer.text(render(self._form.template_file, chat)))

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return raw text with the model's own special tokens. Raises `QuestionTooLong` or `EngineError`."""
        return await self._checked(await self._tokenizer.text(text, special=True))

    async def stream(
        self, prompt: tuple[int, ...], *, max_tokens: int, sampling: Sampling, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        """Continue `prompt` by at most `max_tokens`; closing the generator aborts the engine's request.

        `seed` is in [0, 2^63). The last chunk, and only that, has a finish reason. Text lags behind the token ids
        where a character or a stop string may not be complete. Raises `QuestionTooLong` or `EngineError`.
        """
        await self.open()
        if len(prompt) + max_tokens > self.context:  # vLLM would generate less, and not say so
            raise self._too_long(f"{len(prompt)} prompt tokens and {max_tokens} to generate")
        body = {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": sampling.stop,
            **sampling_body(sampling),
            "stream": True,
            "stream_options": {"include_usage": True},
            "stream_interval": STREAM_INTERVAL,
            "return_token_ids": True,
        }
        last: Chunk | None = None
        async with self._engine.stream("/v1/completions", body) as events:
            async for event in events:
                if event == b"[DONE]":
                    continue  # and read to the end, so that the connection can be used again
                frame = self._frame(event)
                if frame.get("choices"):
                    chunk = self._chunk(frame["choices"])
                    if chunk.finish_reason is None:
                        yield chunk
                    else:
                        last = chunk
                elif last is not None and frame.get("usage"):
                    last = _with_usage(last, frame["usage"])
        if last is None:
            raise unusable(self._engine.title, "ended its stream before the text was finished")
        yield last

    async def ready(self) -> None:
        """Generate one token for real. Raises `EngineError` where that does not work."""
        prompt = await self.prompt_ids([{"role": "user", "content": "1 + 1 = ?"}])
        stream = self.stream(prompt, max_tokens=1, sampling=Sampling(temperature=1.0), seed=0)
        async with aclosing(stream):
            generated = sum([len(chunk.token_ids) async for chunk in stream])
        if generated != 1:
            raise unusable(self._engine.title, f"generated {generated} tokens when asked for one")

    async def _checked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        await self.open()
        if len(ids) >= self.context:
            raise self._too_long(f"{len(ids)} prompt tokens")
        return ids

    def _too_long(self, what: str) -> QuestionTooLong:
        return QuestionTooLong(
            f"{what} do not fit: the {self._engine.title} takes {self.context} tokens in all.",
            hint="Shorten the question or lower max_completion_tokens.",
            param="messages",
        )

    def _frame(self, event: bytes) -> dict[str, Any]:
        try:
            frame = json.loads(event)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            raise unusable(self._engine.title, "sent an event that is not JSON")
        if "error" in frame:
            raise refused(self._engine.title, httpx.codes.INTERNAL_SERVER_ERROR, event, served_name=self._engine.model)
        return frame

    def _chunk(self, choices: Any) -> Chunk:
        choice = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
        text, ids, reason = choice.get("text"), choice.get("token_ids"), choice.get("finish_reason")
        if not isinstance(text, str) or not isinstance(ids, list):
            raise unusable(self._engine.title, "sent text without token ids", hint="It must be vLLM 0.10.2 or newer.")
        if reason == "abort":
            raise EngineUnavailable(f"The {self._engine.title} aborted our request.", hint="Is it shutting down?")
        if reason not in (None, "stop", "length"):
            raise unusable(self._engine.title, f"gave up while generating ({reason})")
        return Chunk(text, tuple(ids), reason)


def _with_usage(last: Chunk, usage: dict[str, Any]) -> Chunk:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Chunk(last.text, last.token_ids, last.finish_reason, usage.get("prompt_tokens"), cached)


def _with_system(messages: Sequence[dict[str, str]], system: str | None) -> list[dict[str, str]]:
    """Put the configured system message first where there is none; `developer` is OpenAI's newer word for `system`."""
    chat = [
        {
            "role": "system" if message["role"] == "developer" else message["role"],
            "content": message["content"],
        }
        for message in messages
    ]
    if system is not None and not any(message["role"] == "system" for message in chat):
        return [{"role": "system", "content": system}, *chat]
    return chat
