"""A search as a stream of OpenAI's chunks: how it goes while it goes, then the answer."""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing

from service.gateway.chunks import ChatChunks, Chunk, TextChunks
from service.gateway.found import Found
from service.gateway.reply import ChatChoice, ChatCompletion, TextChoice, TextCompletion
from service.search.progress import Progress, Standing

REASONING_PACE_S = 0.5
"""Shortest time between two lines of progress: they are for people to read."""


class AnswerStream:
    """Makes the chunks of one answer.

    `body` gives what is found the shape that it has when it is not streamed. `stepwise`: the search grows a tree, and
    has no fixed number of candidates.
    """

    def __init__(
        self,
        chunks: ChatChunks,
        body: Callable[[Found], ChatCompletion | TextCompletion],
        *,
        stepwise: bool,
    ) -> None:
        self._chunks = chunks
        self._body = body
        self._stepwise = stepwise
        self._opened = isinstance(chunks, TextChunks)
        self._text = ""
        self._line = ""
        self._unsent_line = ""
        self._line_due = 0.0

    async def of(self, told: AsyncGenerator[Progress | Found, None]) -> AsyncGenerator[Chunk, None]:
        """Return the chunks for what is told of a search; closing them closes it."""
        async with aclosing(told):
            async for item in told:
                for chunk in self._progress(item) if isinstance(item, Progress) else self._answer(self._body(item)):
                    yield chunk

    def _progress(self, told: Progress) -> Iterator[Chunk]:
        yield from self._open()
        if told.text:
            self._text += told.text
            yield self._chunks.text(0, told.text)
        for event in told.events:
            yield self._chunks.event(event.model_dump(mode="json"))
        if told.standing is not None:
            self._unsent_line = line_of(told.standing, stepwise=self._stepwise)
            if time.monotonic() >= self._line_due:
                yield from self._reasoning()

    def _answer(self, body: ChatCompletion | TextCompletion) -> Iterator[Chunk]:
        """Return the chunks of what the search has decided; `mull` is in the last one."""
        yield from self._open()
        yield from self._reasoning()
        ends = [chunk for choice in body.choices for chunk in self._choice(choice)]
        if self._chunks.include_usage:
            ends.append(self._chunks.usage(body.usage.model_dump(mode="json")))
        yield from ends[:-1]
        yield ends[-1] | {"mull": body.mull.model_dump(mode="json")}

    def _open(self) -> Iterator[Chunk]:
        if not self._opened:
            self._opened = True
            yield self._chunks.role(0)

    def _reasoning(self) -> Iterator[Chunk]:
        if self._unsent_line not in ("", self._line):
            self._line, self._line_due = self._unsent_line, time.monotonic() + REASONING_PACE_S
            yield self._chunks.reasoning(f"{self._line}\n")

    def _choice(self, choice: ChatChoice | TextChoice) -> Iterator[Chunk]:
        text = choice.text if isinstance(choice, TextChoice) else choice.message.content
        if choice.index == 0:
            # Of a candidate that was cut off, the piece of a step has been sent that is no part of a result.
            text = text.removeprefix(self._text) if text.startswith(self._text) else ""
        elif not isinstance(self._chunks, TextChunks):
            yield self._chunks.role(choice.index)
        logprobs = choice.model_dump(mode="json").get("logprobs")
        if text:
            yield self._chunks.text(choice.index, text, logprobs)
            logprobs = None
        yield self._chunks.end(choice.index, choice.finish_reason, logprobs)


def line_of(standing: Standing, *, stepwise: bool) -> str:
    """Return the state of a search in words: `16 candidates, 9 finished, 42 leads with 6 votes`."""
    begun = _many(standing.steps, "step") if stepwise else _many(standing.begun, "candidate")
    line = f"{begun}, {standing.ended} finished"
    if standing.answer is None:
        return line
    line += f", {' '.join(standing.answer.split())} leads"
    return line if standing.votes is None else f"{line} with {_many(standing.votes, 'vote')}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
