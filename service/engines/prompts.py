"""A reward model's prompt, part by part, as token ids."""

from collections.abc import Sequence

from reward_models.protocol import Chat, Critique, NextToken, Prompt, Request, Tag, Text, Token, Turn
from service.engines.readings.reading import Ready
from service.engines.tokenizer import EngineTokenizer


class TokenRefused(ValueError):
    """A text that should be one token of the vocabulary is not; the message says what it is."""


class Prompts:
    """Turns requests into ids by the engine's own tokenizer, which remembers what it was asked."""

    def __init__(self, tokenizer: EngineTokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: dict[str, int] = {}

    async def ready(self, requests: Sequence[Request]) -> list[Ready]:
        """Return the requests with their ids. Raises `MullError` as the tokenizer does."""
        return [await self._ready(request) for request in requests]

    async def token(self, token: Token) -> int:
        """Return the id of a token. Raises `TokenRefused` for a text that is not one token of the vocabulary."""
        if isinstance(token, int):
            return token
        if token not in self._tokens:
            ids = await self._tokenizer.text(token)
            # A word-level vocabulary has one token, and always the same, for all that it does not know.
            if token.strip() not in await self._tokenizer.decode(ids):
                raise TokenRefused(f"{token!r} is not in its vocabulary")
            if len(ids) != 1:
                raise TokenRefused(f"{token!r} is {len(ids)} tokens {list(ids)}, not one")
            self._tokens[token] = ids[0]
        return self._tokens[token]

    async def _ready(self, request: Request) -> Ready:
        if isinstance(request, Critique):
            return Ready(request, await self._chat(Chat(request.turns)), generated=request.max_tokens)
        prompt, tags = await self._joined(request.prompt)
        if isinstance(request, NextToken):
            labels = tuple([await self.token(label) for label in request.labels])
            return Ready(request, prompt, labels, tags, generated=1)
        return Ready(request, prompt, (), tags)

    async def _joined(self, prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the ids of a prompt and the places of its tags."""
        ids: list[int] = []
        tags: list[int] = []
        for part in prompt:  # one after the other: nearly all of them are remembered
            if isinstance(part, Tag):
                tags.append(len(ids))
            ids += await self._part(part)
        return tuple(ids), tuple(tags)

    async def _part(self, part: Text | Chat | Tag) -> tuple[int, ...]:
        match part:
            case Text(text, special):
                return await self._tokenizer.text(text, special=special) if text or special else ()
            case Chat():
                return await self._chat(part)
            case Tag(token):
                return (await self.token(token),)

    async def _chat(self, chat: Chat) -> tuple[int, ...]:
        return await self._tokenizer.chat([_message(turn) for turn in chat.turns], reply=chat.reply)


def _message(turn: Turn) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}
