"""A vLLM server of words. Only what the clients use is there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Json = dict[str, Any]


class Events:
    """Server-sent events; `then` is what comes after them.

    "end" ends the answer, "break" breaks the connection, "hold" waits for an abort by name, which brings `aborted`.
    `left` is set when the client lets go of the connection before the end.
    """

    def __init__(
        self, frames: Sequence[Json | bytes], *, then: str = "end", aborted: Sequence[Json | bytes] = ()
    ) -> None:
        self.frames = frames
        self.then = then
        self.aborted = aborted
        self.left = asyncio.Event()

    async def send(self, request: web.Request, abort: asyncio.Event) -> web.StreamResponse:
        """Answer a request; `abort` is set when it is aborted by name."""
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            await self._write(response, self.frames)
            if self.then == "break":
                assert request.transport is not None
                request.transport.abort()
            if self.then == "hold":
                await abort.wait()
                await self._write(response, self.aborted)
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise
        return response

    async def _write(self, response: web.StreamResponse, frames: Sequence[Json | bytes]) -> None:
        for frame in frames:
            data = frame if isinstance(frame, bytes) else json.dumps(frame, ensure_ascii=False).encode()
            # Cut in the middle, as a network may.
            await response.write(b"data: " + data[:7])
            await asyncio.sleep(0)
            await response.write(data[7:] + b"\n\n")


class Held:
    """A whole answer that comes only once its request has been aborted by name."""

    def __init__(self, answer: Json) -> None:
        self.answer = answer
        self.left = asyncio.Event()

    async def send(self, _: web.Request, abort: asyncio.Event) -> web.StreamResponse:
        """Answer a request; `abort` is set when it is aborted by name."""
        try:
            await abort.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        return web.json_response(self.answer)


Reply = Callable[[Json], web.StreamResponse | Events | Held]


class FakeVllm:
    """Answers as vLLM does; `replies[path]` replaces an answer, `asked` and `headers` remember every request.

    Every word is a token, numbered as it first comes up; or the tokens are those of `vocabulary`, of which the longest
    is taken, and the first one where none fits.
    `aborts` has the names of each abort that was posted, which is answered with `abort_status`; the first `deaf` of
    them do nothing, as when they come before their request.
    """

    ABORT = "/inference/v1/abort_requests"

    def __init__(self, *, name: str, context: int = 512, vocabulary: Sequence[str] = ()) -> None:
        self.name = name
        self.context = context
        self.words = list(vocabulary)
        self._vocabulary = _one_of(vocabulary) if vocabulary else None
        self.asked: list[tuple[str, Json]] = []
        self.headers: list[Mapping[str, str]] = []
        self.replies: dict[str, Reply] = {}
        self.aborts: list[list[str]] = []
        self.abort_status = 200
        self.deaf = 0
        self.url = ""
        self._aborted: dict[str, asyncio.Event] = {}
        self._news = asyncio.Event()
        self._connections: set[asyncio.Transport] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeVllm"]:
        """Serve at `url`, on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._runner = runner
        try:
            yield self
        finally:
            await runner.cleanup()

    async def die(self) -> None:
        """Break all connections off, and listen no more."""
        for connection in list(self._connections):
            connection.abort()
        await self._runner.cleanup()

    def bodies(self, path: str) -> list[Json]:
        """Return what was sent to `path`, in order."""
        return [body for asked, body in self.asked if asked == path]

    async def reached(self, path: str, times: int = 1) -> None:
        """Return when `path` has been asked that often."""
        while len(self.bodies(path)) < times:
            self._news.clear()
            await self._news.wait()

    def ids(self, text: str) -> list[int]:
        """Return the token ids of text."""
        if self._vocabulary is not None:
            return [self.words.index(token) if token in self.words else 0 for token in self._vocabulary.findall(text)]
        found = re.findall(r"\n\n|\S+", text)
        self.words += [word for word in dict.fromkeys(found) if word not in self.words]
        return [self.words.index(word) for word in found]

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        return ("" if self._vocabulary else " ").join(self.words[i] for i in ids)

    def writes(self, text: str) -> None:
        """Let every prompt that is a beginning of `text` be continued by the rest of it."""
        self.replies["/v1/completions"] = lambda body: Events(self._continue(body, self.ids(text)))

    def _continue(self, body: Json, ids: list[int]) -> list[Json | bytes]:
        """Stop where vLLM does: `token_ids` has the token of the stop, the text has not."""
        prompt, interval = len(body["prompt"]), body["stream_interval"]
        assert ids[:prompt] == list(body["prompt"])
        rest, stops = ids[prompt:], set(body.get("stop_token_ids", ()))
        length = next((place for place, token in enumerate(rest, 1) if token in stops), len(rest))
        written = rest[: min(length, body["max_tokens"])]
        stop = written[-1] if written[-1] in stops else None
        reason = "length" if stop is None and len(written) == body["max_tokens"] else "stop"
        ends = [*range(1, len(written), interval), len(written)]
        frames: list[Json | bytes] = []
        for begin, end in zip([0, *ends], ends, strict=False):
            piece, last = written[begin:end], end == len(written)
            shown = self.text(piece[:-1] if last and stop is not None else piece)
            frames.append(delta(shown, piece, reason if last else None, stop_reason=stop if last else None))
        return [*frames, {**usage(prompt, len(written), 0), "choices": []}, b"[DONE]"]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        body = await request.json() if request.can_read_body else {}
        path = request.path
        self.asked.append((path, body))
        self.headers.append(request.headers)
        self._news.set()
        if path in self.replies:
            reply = self.replies[path](body)
            if isinstance(reply, web.StreamResponse):
                return reply
            return await reply.send(request, self._abort_of(f"cmpl-{request.headers.get('X-Request-Id')}-0"))
        match path:
            case "/v1/models":
                return web.json_response({"data": [{"id": self.name, "max_model_len": self.context}]})
            case "/tokenize":
                text = body.get("prompt") or "".join(f"[{m['role']}] {m['content']} " for m in body["messages"])
                return web.json_response({"tokens": self.ids(text)})
            case "/detokenize":
                return web.json_response({"prompt": self.text(body["tokens"])})
            case self.ABORT:
                return self._abort(body["request_ids"])
        return web.json_response({"error": {"message": f"nothing at {path}"}}, status=404)

    def _abort(self, names: list[str]) -> web.Response:
        self.aborts.append(names)
        if self.abort_status == 200 and len(self.aborts) > self.deaf:
            for name in names:
                self._abort_of(name).set()
        return web.Response(status=self.abort_status)

    def _abort_of(self, name: str) -> asyncio.Event:
        return self._aborted.setdefault(name, asyncio.Event())


def delta(
    text: str,
    ids: Sequence[int],
    finish_reason: str | None = None,
    logprobs: Json | None = None,
    stop_reason: int | str | None = None,
) -> Json:
    """Return one event of a stream."""
    choice = {"text": text, "token_ids": list(ids), "finish_reason": finish_reason, "logprobs": logprobs}
    return {"choices": [{**choice, "stop_reason": stop_reason}]}


def _one_of(tokens: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)


def usage(prompt: int, generated: int, cached: int | None) -> Json:
    """Return the usage object of an answer."""
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": generated, **details}}
