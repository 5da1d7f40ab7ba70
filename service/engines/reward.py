"""A process reward model behind a vLLM server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import httpx

from reward_models.protocol import NextToken, ProcessRewardModel
from reward_models.registry import FAMILIES
from service.engines.failures import unusable
from service.engines.http import EngineHttp
from service.engines.sampling import sampling_body
from service.engines.tokenizer import EngineTokenizer
from service.errors import MullError, QuestionTooLong
from service.search.ports import Sampling, Scores
from service.settings import RewardSettings

REMEMBERED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class _Opened:
    model: ProcessRewardModel
    context: int


@dataclass(frozen=True, slots=True)
class _Read:
    logprobs: tuple[float, ...]
    submitted: int
    cached: int | None
    generated: int


class VllmScorer:
    """Implements `ports.Scorer`. `http` is the engine's client, see `engine_client`."""

    def __init__(self, settings: RewardSettings, http: httpx.AsyncClient) -> None:
        self._engine = EngineHttp("reward model", settings, http)
        self._tokenizer = EngineTokenizer(self._engine, size=REMEMBERED_TEXTS)
        self._family = FAMILIES[settings.family](
            good_token=settings.good_token,
            bad_token=settings.bad_token,
            step_separator=settings.step_separator,
        )
        self._opened: _Opened | None = None

    async def open(self) -> None:
        """Learn context length and label tokens, once. Raises `EngineError` where a label is not one token."""
        await self._open()

    @property
    def context(self) -> int:
        """The longest prompt plus the one token that is read, in tokens; known after `open`."""
        if self._opened is None:
            raise RuntimeError("open() the reward model before asking for its context")
        return self._opened.context

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit, without submitting any. Raises what `score` raises."""
        return sum(len(request.prompt) for request in await self._requests(question, steps, first))

    async def score(self, question: str, steps: Sequence[str], first: int) -> Scores:
        """Score `steps[first:]`, each given all steps before it: one concurrent engine request per step.

        Steps are text as the policy wrote it. Raises `QuestionTooLong`, before it submits anything, or `EngineError`.
        """
        opened = await self._open()
        requests = await self._requests(question, steps, first)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(request)) for request in requests]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        reads = [task.result() for task in tasks]
        cached = [read.cached for read in reads if read.cached is not None]
        return Scores(
            values=tuple(opened.model.score(read.logprobs) for read in reads),
            submitted=sum(read.submitted for read in reads),
            cached=sum(cached) if len(cached) == len(reads) else None,
            generated=sum(read.generated for read in reads),
        )

    async def ready(self) -> None:
        """Score one step for real. Raises `EngineError` where that does not work."""
        await self.score("What is 1 + 1?", ["1 + 1 = 2"], 0)

    async def _open(self) -> _Opened:
        if self._opened is None:
            context = await self._engine.context_length()
            self._opened = _Opened(await self._bind(), context)
        return self._opened

    async def _bind(self) -> ProcessRewardModel:
        ids = {field: await self._tokenizer.text(text) for field, text in self._family.texts().items()}
        for field, label in self._family.labels().items():
            # A word-level vocabulary has one token, and always the same, for all that it does not know.
            if label not in await self._tokenizer.decode(ids[field]):
                raise self._bad_label(f"{field} {label!r} is not in its vocabulary")
        try:
            return self._family.bind(ids)
        except ValueError as cause:
            raise self._bad_label(str(cause)) from cause

    def _bad_label(self, why: str) -> MullError:
        return unusable(
            self._engine.title,
            f"cannot be read by its labels: {why}",
            hint="Set good_token and bad_token in mull.yaml to two single tokens of the model.",
        )

    async def _requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[NextToken]:
        opened = await self._open()
        question_ids = await self._tokenizer.chat([{"role": "user", "content": question}])
        step_ids = [await self._step(step) for step in steps]
        requests = opened.model.requests(question_ids, step_ids, first)
        longest = max((len(request.prompt) + 1 for request in requests), default=0)
        if longest > opened.context:
            raise QuestionTooLong(
                f"Question and steps take {longest} tokens to score; the {self._engine.title} takes "
                f"{opened.context} in all.",
                hint="Shorten the question or lower max_completion_tokens.",
                param="messages",
            )
        return requests

    async def _step(self, text: str) -> tuple[int, ...]:
        bare = self._family.step(text)
        return await self._tokenizer.text(bare) if bare else ()

    async def _read(self, request: NextToken) -> _Read:
        body = {
            "prompt": request.prompt,
            "max_tokens": 1,
            # What is sampled is thrown away; temperature 1 leaves even processed log-probabilities alone.
            **sampling_body(Sampling(temperature=1.0)),
            "logprobs": len(request.labels),
            "logprob_token_ids": request.labels,
            "return_tokens_as_token_ids": True,
        }
        answer = await self._engine.post("/v1/completions", body)
        try:
            top: dict[str, Any] = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            logprobs = tuple(float(top[f"token_id:{label}"]) for label in request.labels)
            usage = answer["usage"]
            submitted, generated = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except (KeyError, IndexError, TypeError, ValueError) as cause:
            raise self._no_labels() from cause
        if not all(isfinite(logprob) for logprob in logprobs):
            raise self._no_labels()
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        return _Read(logprobs, submitted, cached, generated)

    def _no_labels(self) -> MullError:
        return unusable(
            self._engine.title,
            "did not give the log-probabilities of both labels",
            hint="It must be a vLLM that knows logprob_token_ids; `mull doctor` shows what it does.",
        )
