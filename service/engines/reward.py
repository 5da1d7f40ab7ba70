"""A reward model behind a vLLM server."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reward_models.math_only import math_only
from reward_models.protocol import Answer, AtTags, Classes, Critique, LastValue, NextToken, Reads, Request
from service.engines.completion import put
from service.engines.failures import unusable
from service.engines.fleet import Fleet
from service.engines.prompts import Prompts, TokenRefused
from service.engines.readiness import any_ready
from service.engines.readings.at_tags import read_at_tags
from service.engines.readings.classes import read_classes
from service.engines.readings.critique import read_critique
from service.engines.readings.last_value import read_last_value
from service.engines.readings.next_token import read_next_token
from service.engines.readings.reading import Reading, Ready
from service.engines.tokenizer import EngineTokenizer
from service.errors import MullError, QuestionTooLong
from service.search.ports import Bill
from service.settings import RewardSettings
from service.settle import settled

REMEMBERED_TEXTS = 4096

READINGS: Mapping[type[Request], Reading] = {
    NextToken: read_next_token,
    AtTags: read_at_tags,
    Classes: read_classes,
    LastValue: read_last_value,
    Critique: read_critique,
}


class VllmScorer:
    """Implements `ports.Scorer`; `aclose` closes the engine's connections."""

    def __init__(self, settings: RewardSettings, engine: Fleet) -> None:
        self._settings = settings
        self._engine = engine
        self._prompts = Prompts(EngineTokenizer(self._engine, size=REMEMBERED_TEXTS))
        self._family = settings.family
        self._math_only = settings.math_only
        self._context: int | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Learn context length and label tokens, once. Raises `EngineError` where a label is not one token."""
        await self._open()

    @property
    def reads(self) -> Reads:
        """What one request reads: a step, a whole solution step by step, or one score for it."""
        return self._family.reads

    @property
    def context(self) -> int:
        """The longest prompt plus what is written after it, in tokens; known after `open`."""
        if self._context is None:
            raise RuntimeError("open() the reward model before asking for its context")
        return self._context

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit, and a judge write at most. Raises what `score` raises."""
        return sum(_price(ready) for ready in await self._ready(question, steps, first))

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Score `steps[first:]`, each given all steps before it; requests that do not wait for each other are at once.

        Steps are text as the policy wrote it. Raises `QuestionTooLong`, before it submits anything, or `EngineError`.
        All requests have ended when the call ends; `bill` is the sum of what they are known to have cost.
        """
        bill.exact = True  # as long as nothing is submitted
        requests = await self._ready(question, steps, first)
        bill.exact = False
        bills = [Bill() for _ in requests]
        try:
            answers = await settled([self._read(ready, cost) for ready, cost in zip(requests, bills, strict=True)])
        finally:
            put(_sum(bills), bill)
        try:
            return self._family.scores(answers, first)
        except ValueError as cause:
            raise unusable(self._engine.title, f"did not tell all scores: {cause}") from cause

    async def ready(self) -> tuple[str, ...]:
        """Score one step for real, or write one token of a critique; return what is wrong with servers that cannot.

        Raises `EngineError` where none can.
        """
        each = self._engine.each()
        scorers = [self] if len(each) == 1 else [VllmScorer(self._settings, one) for one in each]
        return await any_ready([scorer._score_one() for scorer in scorers])

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self._engine.aclose()

    async def _score_one(self) -> None:
        question, steps = "What is 1 + 1?", ["1 + 1 = 2"]
        first, *_ = await self._ready(question, steps, 0)
        if isinstance(first.request, Critique):
            await self._read(replace(first, generated=1), Bill())
        else:
            await self.score(question, steps, 0, Bill())

    async def _open(self) -> int:
        if self._context is None:
            async with self._opening:
                if self._context is None:
                    context = await self._engine.context_length()
                    await self._check_tokens()
                    self._context = context
        return self._context

    async def _check_tokens(self) -> None:
        seen: dict[int, str] = {}
        for field, token in self._family.tokens().items():
            try:
                found = await self._prompts.token(token)
            except TokenRefused as refused:
                raise self._bad_token(f"{field} {refused}") from refused
            if found in seen:
                raise self._bad_token(f"{seen[found]} and {field} are both token {found}")
            seen[found] = field

    def _bad_token(self, why: str) -> MullError:
        return unusable(
            self._engine.title,
            f"cannot be read as {self._family.name}: {why}",
            hint="Correct its preset or its family in mull.yaml: each must be a single token of the model.",
        )

    async def _ready(self, question: str, steps: Sequence[str], first: int) -> list[Ready]:
        context = await self._open()
        if self._math_only:
            steps = [math_only(step) for step in steps]
        requests = await self._prompts.ready(self._family.requests(question, steps, first))
        longest = max((len(ready.prompt) + ready.generated for ready in requests), default=0)
        if longest > context:
            raise QuestionTooLong(
                f"Question and steps take {longest} tokens to score; the {self._engine.title} takes {context} in all.",
                hint="Shorten the question or lower max_completion_tokens.",
                param="messages",
            )
        place = self._engine.place(question.encode(), *steps)
        return requests if place is None else [replace(ready, place=place) for ready in requests]

    async def _read(self, ready: Ready, bill: Bill) -> Answer:
        return await READINGS[type(ready.request)](self._engine, ready, bill)


def _price(ready: Ready) -> int:
    """What counts: a judge's critiques are paid for, the one token by which a label is read is not."""
    return len(ready.prompt) + (ready.generated if isinstance(ready.request, Critique) else 0)


def _sum(bills: Sequence[Bill]) -> Bill:
    cached = [bill.cached for bill in bills if bill.cached is not None]
    return Bill(
        prompt=sum(bill.prompt for bill in bills),
        cached=sum(cached) if len(cached) == len(bills) else None,
        generated=sum(bill.generated for bill in bills),
        exact=all(bill.exact for bill in bills),
    )
