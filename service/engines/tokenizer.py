"""An engine's own tokenizer, over HTTP, with a memory."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from service.engines.failures import rubbish
from service.engines.fleet import Fleet
from service.errors import EngineError, InvalidRequest, MullError
from service.search.ports import NO_VARIABLES

Messages = Sequence[dict[str, str]]


class EngineTokenizer:
    """Texts and chats to token ids; the last `size` of them are remembered, and those who ask at once ask together."""

    def __init__(self, engine: Fleet, *, size: int) -> None:
        self._engine = engine
        self._size = size
        self._known: OrderedDict[object, tuple[int, ...]] = OrderedDict()
        self._asked: dict[object, asyncio.Task[tuple[int, ...]]] = {}
        self._waiting: dict[object, int] = {}

    async def chat(
        self, messages: Messages, *, reply: bool = True, variables: Mapping[str, Any] = NO_VARIABLES
    ) -> tuple[int, ...]:
        """Return a chat under the engine's template, with `reply` ready for the assistant's turn.

        `variables` are the template's, beside the messages: plain JSON. Raises `InvalidRequest` where the template
        refuses them, or the engine's own errors.
        """
        given = json.dumps(dict(variables), sort_keys=True)
        key = (reply, given, *((message["role"], message["content"]) for message in messages))
        body: dict[str, Any] = {"messages": list(messages), "add_generation_prompt": reply}
        if variables:
            body["chat_template_kwargs"] = dict(variables)
        return await self._ids(key, body, bad_request=InvalidRequest)

    async def text(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """Return raw text; `special` adds what the model puts around a whole prompt (a BOS token, say)."""
        return await self._ids((text, special), {"prompt": text, "add_special_tokens": special})

    async def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""
        answer = await self._engine.post("/detokenize", {"tokens": list(ids)})
        text = answer.get("prompt")
        if not isinstance(text, str):
            raise rubbish(self._engine.title, "did not detokenize")
        return text

    async def _ids(
        self, key: object, body: dict[str, Any], *, bad_request: type[MullError] = EngineError
    ) -> tuple[int, ...]:
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(body, bad_request))
        task = self._asked[key]
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            ids = await asyncio.shield(task)
        finally:
            self._leave(key)
        self._known[key] = ids
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return ids

    def _leave(self, key: object) -> None:
        """One who is cancelled leaves the request to the others; the last one ends it."""
        self._waiting[key] -= 1
        if self._waiting[key] == 0:
            del self._waiting[key]
            self._asked.pop(key).cancel()

    async def _ask(self, body: dict[str, Any], bad_request: type[MullError]) -> tuple[int, ...]:
        tokens = (await self._engine.post("/tokenize", body, bad_request=bad_request)).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise rubbish(self._engine.title, "did not tokenize")
        return tuple(tokens)
