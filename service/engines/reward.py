"""A process reward model behind a vLLM server."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from reward_models.protocol import NextToken, ProcessRewardModel
from reward_models.registry import FAMILIES
from service.engines.abort import new_request_id
from service.engines.completion import billed, put
from service.engines.engine import EngineHttp
from service.engines.failures import aborted, unusable
from service.engines.http import EngineClient
from service.engines.sampling import sampling_body
from service.engines.settle import settled
from service.engines.tokenizer import EngineTokenizer
from service.errors import MullError, QuestionTooLong
from service.search.ports import Bill, Sampling
from service.settings import RewardSettings

REMEMBERED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class _Opened:
    model: ProcessRewardModel
    context: int


class VllmScorer:
    """Implements `ports.Scorer`. `client` is the engine's, see `engine_client`; `aclose` closes it."""

    def __init__(self, settings: RewardSettings, client: EngineClient) -> None:
        self._engine = EngineHttp("reward model", settings, client)
        self._tokenizer = EngineTokenizer(self._engine, size=REMEMBERED_TEXTS)
        self._family = FAMILIES[settings.family](
            good_token=settings.good_token,
            bad_token=settings.bad_token,
            step_separator=settings.step_separator,
        )
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()

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

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Score `steps[first:]`, each given all steps before it: one concurrent engine request per step.

        Steps are text as the policy wrote it. Raises `QuestionTooLong`, before it submits anything, or `EngineError`.
        All requests have ended when the call ends; `bill` is the sum of what they are known to have cost.
        """
        bill.exact = True  # as long as nothing is submitted
        opened = await self._open()
        requests = await self._requests(question, steps, first)
        bill.exact = False
        bills = [Bill() for _ in requests]
        try:
            reads = await settled([self._read(request, cost) for request, cost in zip(requests, bills, strict=True)])
        finally:
            put(_sum(bills), bill)
        return tuple(opened.model.score(logprobs) for logprobs in reads)

    async def ready(self) -> None:
        """Score one step for real. Raises `EngineError` where that does not work."""
        await self.score("What is 1 + 1?", ["1 + 1 = 2"], 0, Bill())

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self._engine.aclose()

    async def _open(self) -> _Opened:
        if self._opened is None:
            async with self._opening:
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

    async def _read(self, request: NextToken, bill: Bill) -> tuple[float, ...]:
        """Return the log-probabilities of the request's labels."""
        request_id = new_request_id()
        # A task of its own: when this one is cancelled, the answer to the abort can still be read.
        asking = asyncio.create_task(self._ask(request, request_id, bill))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            await self._engine.aborts.end(request_id, lambda: asyncio.shield(asking))
            raise
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking})

    async def _ask(self, request: NextToken, request_id: str, bill: Bill) -> tuple[float, ...]:
        body = {
            "prompt": request.prompt,
            "max_tokens": 1,
            # What is sampled is thrown away; temperature 1 leaves even processed log-probabilities alone.
            **sampling_body(Sampling(temperature=1.0)),
            "logprobs": len(request.labels),
            "logprob_token_ids": request.labels,
            "return_tokens_as_token_ids": True,
        }
        answer = await self._engine.post("/v1/completions", body, request_id=request_id)
        if (told := billed(answer.get("usage"))) is not None:
            put(told, bill)
        try:
            choice = answer["choices"][0]
            if choice.get("finish_reason") == "abort":
                raise aborted(self._engine.title)
            top: dict[str, Any] = choice["logprobs"]["top_logprobs"][0]
            logprobs = tuple(float(top[f"token_id:{label}"]) for label in request.labels)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as cause:
            raise self._no_labels() from cause
        if not all(isfinite(logprob) for logprob in logprobs):
            raise self._no_labels()
        return logprobs

    def _no_labels(self) -> MullError:
        return unusable(
            self._engine.title,
            "did not give the log-probabilities of both labels",
            hint="It must be a vLLM that knows logprob_token_ids; `mull doctor` shows what it does.",
        )


def _sum(bills: Sequence[Bill]) -> Bill:
    cached = [bill.cached for bill in bills if bill.cached is not None]
    return Bill(
        prompt=sum(bill.prompt for bill in bills),
        cached=sum(cached) if len(cached) == len(bills) else None,
        generated=sum(bill.generated for bill in bills),
        exact=all(bill.exact for bill in bills),
    )
