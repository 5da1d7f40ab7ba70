"""A policy, a scorer and a reader that follow a script: for tests of strategies and of the driver, without engines."""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward_models.protocol import Reads
from service.search.ports import NO_VARIABLES, Bill, Chunk, Place, Sampling, TokenLogprobs
from service.search.seeds import place_seed
from strategies.protocol import Answer

WRITTEN = 1_000_000
"""Ids from here on are tokens that a `ScriptedPolicy` has written; those below are a prompt's."""
SEPARATORS = 2 * WRITTEN
"""Ids from here on are such tokens that end a step."""


@dataclass
class ScriptedPolicy:
    """Writes `solutions[i]` for candidate `i` of a search with `request_seed`, one word per token and chunk.

    A token is a run of non-space characters or of spaces. A solution longer than `max_tokens` ends with "length".
    A prompt that ends in tokens of a solution is continued where it stops. `logprob` is every token's, sampled or not.
    `stops_at_steps` says whether it can end a stream where a step ends, as not every engine can.
    `open_streams` and `most_open` tell how many were in flight; `calls` records (seed, max_tokens, sampling) of each,
    `bills` what each has cost, `places` where it stands.
    """

    solutions: Sequence[str]
    request_seed: int = 0
    context: int = 4096
    pause: Callable[[], float] = lambda: 0.0
    logprob: float = -1.0
    stops_at_steps: bool = True
    open_streams: int = 0
    most_open: int = 0
    calls: list[tuple[int, int, Sampling]] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)

    async def prompt_ids(
        self, messages: Sequence[dict[str, str]], variables: Mapping[str, Any] = NO_VARIABLES
    ) -> tuple[int, ...]:
        """Return one token per word of the messages, whatever the variables."""
        return await self.text_ids(" ".join(message["content"] for message in messages))

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return one token per word."""
        return tuple(range(len(text.split())))

    async def stream(
        self,
        prompt: tuple[int, ...],
        *,
        max_tokens: int,
        sampling: Sampling,
        seed: int,
        bill: Bill,
        eager: bool = True,
        stop_at_step: bool = False,
        place: Place | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """Write the solution that belongs to `seed`, or its next step."""
        self.calls.append((seed, max_tokens, sampling))
        self.bills.append(bill)
        self.places.append(place)
        written = sum(token >= WRITTEN for token in prompt)
        words, end = self._words(prompt, seed), "stop"
        separator = next((place for place, word in enumerate(words, 1) if "\n\n" in word), None)
        if stop_at_step and self.stops_at_steps and separator is not None:
            words, end = words[:separator], "step"
        self.open_streams += 1
        self.most_open = max(self.most_open, self.open_streams)
        try:
            for count, word in enumerate(words[:max_tokens], 1):
                await asyncio.sleep(self.pause())
                bill.prompt, bill.generated = len(prompt), count
                last = count == len(words) or count == max_tokens
                reason = (end if count == len(words) else "length") if last else None
                token = (SEPARATORS if "\n\n" in word else WRITTEN) + written + count - 1
                yield Chunk(word, (token,), reason, self._logprobs(sampling, word))
        finally:
            bill.exact = True
            self.open_streams -= 1

    def _words(self, prompt: tuple[int, ...], seed: int) -> list[str]:
        """Return the tokens of the solution that come after `prompt`."""
        written = sum(token >= WRITTEN for token in prompt)
        places = {place_seed(self.request_seed, (i,), written): text for i, text in enumerate(self.solutions)}
        return re.findall(r"\s+|\S+", places[seed])[written:]

    def _logprobs(self, sampling: Sampling, word: str) -> tuple[TokenLogprobs, ...]:
        if sampling.logprobs is None:
            return ()
        top = (self.logprob,) * sampling.logprobs
        if not sampling.texts:
            return (TokenLogprobs(self.logprob, top),)
        return (TokenLogprobs(self.logprob, top, word, ((word, self.logprob),)),)


@dataclass
class SeededPolicy(ScriptedPolicy):
    """Writes what it draws from a request's seed: steps of one to three words from a few, at most `depth` of them.

    The last one is an answer of 0 to 2. Siblings often repeat each other.
    """

    solutions: Sequence[str] = ()
    depth: int = 4

    def _words(self, prompt: tuple[int, ...], seed: int) -> list[str]:
        rng = random.Random(seed)
        words = []
        for step in range(1 + sum(token >= SEPARATORS for token in prompt), self.depth + 1):
            if step == self.depth or rng.random() < 0.2:
                break
            for _ in range(rng.randint(1, 3)):
                words += [f"w{rng.randrange(2)}", " "]
            words[-1] = "\n\n"
        return [*words, f"\\boxed{{{rng.randrange(3)}}}"]


@dataclass
class ScriptedScorer:
    """Gives each step the score that `scores` has for its stripped text; a step costs the words up to its end.

    `asked` records the steps of every request, `bills` what each has cost.
    """

    scores: Mapping[str, float]
    pause: Callable[[], float] = lambda: 0.0
    reads: Reads = "step"
    asked: list[tuple[str, ...]] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return the number of words of all steps, once per step asked for."""
        return sum(len(step.split()) for step in steps) * (len(steps) - first)

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Return the scripted scores of `steps[first:]`."""
        self.asked.append(tuple(steps))
        self.bills.append(bill)
        bill.prompt, bill.exact = await self.price(question, steps, first), True
        bill.generated = len(steps) - first
        await asyncio.sleep(self.pause())
        return tuple(self._worth(steps[: end + 1]) for end in range(first, len(steps)))

    def _worth(self, steps: Sequence[str]) -> float:
        return self.scores[steps[-1].strip()]


@dataclass
class SeededScorer(ScriptedScorer):
    """Gives each step a score that is drawn from the text up to its end."""

    scores: Mapping[str, float] = field(default_factory=dict)

    def _worth(self, steps: Sequence[str]) -> float:
        return random.Random("\n".join(step.strip() for step in steps)).random()


class BoxedReader:
    r"""Takes the text between `\boxed{` and the next `}` as answer and as key."""

    async def read(self, solution: str) -> Answer | None:
        """Return the boxed text; `None` without a box."""
        found = re.search(r"\\boxed\{([^}]*)\}", solution)
        return Answer(found[1], found[1]) if found else None
