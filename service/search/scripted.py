"""A policy, a scorer and a reader that follow a script: for tests of strategies and of the driver, without engines."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.search.ports import Chunk, Sampling, Scores
from service.search.seeds import place_seed
from strategies.protocol import Answer


@dataclass
class ScriptedPolicy:
    """Writes `solutions[i]` for candidate `i` of a search with `request_seed`, one word per token and chunk.

    A token is a run of non-space characters or of spaces. A solution longer than `max_tokens` ends with "length".
    `open_streams` and `most_open` tell how many were in flight; `calls` records (seed, max_tokens, sampling) of each.
    """

    solutions: Sequence[str]
    request_seed: int = 0
    context: int = 4096
    pause: Callable[[], float] = lambda: 0.0
    open_streams: int = 0
    most_open: int = 0
    calls: list[tuple[int, int, Sampling]] = field(default_factory=list)

    async def prompt_ids(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        """Return one token per word of the messages."""
        return await self.text_ids(" ".join(message["content"] for message in messages))

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return one token per word."""
        return tuple(range(len(text.split())))

    async def stream(
        self, prompt: tuple[int, ...], *, max_tokens: int, sampling: Sampling, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        """Write the solution that belongs to `seed`."""
        self.calls.append((seed, max_tokens, sampling))
        places = {place_seed(self.request_seed, (i,)): text for i, text in enumerate(self.solutions)}
        words = re.findall(r"\s+|\S+", places[seed])
        self.open_streams += 1
        self.most_open = max(self.most_open, self.open_streams)
        try:
            for count, word in enumerate(words[:max_tokens], 1):
                await asyncio.sleep(self.pause())
                last = count == len(words) or count == max_tokens
                reason = ("stop" if count == len(words) else "length") if last else None
                yield Chunk(word, (count,), reason, len(prompt) if last else None, 0 if last else None)
        finally:
            self.open_streams -= 1


@dataclass
class ScriptedScorer:
    """Gives each step the score that `scores` has for its stripped text; a step costs the words up to its end.

    `asked` records the steps of every request.
    """

    scores: Mapping[str, float]
    pause: Callable[[], float] = lambda: 0.0
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return the number of words of all steps, once per step asked for."""
        return sum(len(step.split()) for step in steps) * (len(steps) - first)

    async def score(self, question: str, steps: Sequence[str], first: int) -> Scores:
        """Return the scripted scores of `steps[first:]`."""
        self.asked.append(tuple(steps))
        await asyncio.sleep(self.pause())
        values = tuple(self.scores[step.strip()] for step in steps[first:])
        return Scores(values, await self.price(question, steps, first), 0, len(values))


class BoxedReader:
    r"""Takes the text between `\boxed{` and the next `}` as answer and as key."""

    async def read(self, solution: str) -> Answer | None:
        """Return the boxed text; `None` without a box."""
        found = re.search(r"\\boxed\{([^}]*)\}", solution)
        return Answer(found[1], found[1]) if found else None
