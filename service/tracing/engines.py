"""Engines with a span for each call: they do what the ones behind them do."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from yarl import URL

from reward_models.protocol import Reads
from service.search.ports import NO_VARIABLES, Bill, Chunk, Place, Policy, Sampling, Scorer
from service.tracing.carried import EngineCall, calling
from service.tracing.facts import Facts, billed
from service.tracing.failed import failed
from service.tracing.w3c import headers_of


class TracedPolicy:
    """Implements `ports.Policy`: each stream of `policy` is a span `policy.stream` below `parent`."""

    def __init__(self, policy: Policy, tracer: Tracer, parent: Context, name: str) -> None:
        self._policy = policy
        self._tracer = tracer
        self._parent = parent
        self._facts = {"mull.engine": name, "gen_ai.operation.name": "text_completion"}

    @property
    def context(self) -> int:
        """The longest prompt plus continuation, in tokens."""
        return self._policy.context

    async def prompt_ids(
        self, messages: Sequence[dict[str, str]], variables: Mapping[str, Any] = NO_VARIABLES
    ) -> tuple[int, ...]:
        """Return the token ids of a chat."""
        return await self._policy.prompt_ids(messages, variables)

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of raw text."""
        return await self._policy.text_ids(text)

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
        """Continue `prompt`."""
        facts: Facts = {**self._facts, "gen_ai.request.max_tokens": max_tokens}
        with _span(self._tracer, "policy.stream", self._parent, facts, bill) as span:
            chunks = self._policy.stream(
                prompt,
                max_tokens=max_tokens,
                sampling=sampling,
                seed=seed,
                bill=bill,
                eager=eager,
                stop_at_step=stop_at_step,
                place=place,
            )
            async with aclosing(chunks):
                async for chunk in chunks:
                    if chunk.finish_reason is not None:
                        span.set_attribute("gen_ai.response.finish_reasons", (chunk.finish_reason,))
                    yield chunk


class TracedScorer:
    """Implements `ports.Scorer`: each call of `scorer` is a span `reward.score` below `parent`."""

    def __init__(self, scorer: Scorer, tracer: Tracer, parent: Context, name: str) -> None:
        self._scorer = scorer
        self._tracer = tracer
        self._parent = parent
        self._facts = {"mull.engine": name}

    @property
    def reads(self) -> Reads:
        """What one request reads."""
        return self._scorer.reads

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit."""
        return await self._scorer.price(question, steps, first)

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`."""
        facts: Facts = {**self._facts, "mull.steps": len(steps) - first}
        with _span(self._tracer, "reward.score", self._parent, facts, bill):
            return await self._scorer.score(question, steps, first, bill)


@contextmanager
def _span(tracer: Tracer, name: str, parent: Context, facts: Facts, bill: Bill) -> Iterator[Span]:
    """Make a span of a call for as long as the context lasts; the engine is told of it, and `bill` is what it cost."""
    span = tracer.start_span(name, parent, SpanKind.CLIENT, facts)
    call = EngineCall(headers_of(span))
    calling.set(call)
    try:
        yield span
    except (asyncio.CancelledError, GeneratorExit) as stop:
        # Cancelled: what was asked for does not matter any more. Closed: the reader has got what it wanted.
        span.set_attribute("mull.stopped", "closed" if isinstance(stop, GeneratorExit) else "cancelled")
        raise
    except Exception as error:
        failed(span, type(error))
        raise
    finally:
        calling.set(None)
        span.set_attributes(billed(bill))
        if call.server is not None:
            server = URL(call.server)
            span.set_attributes({"server.address": server.host or "", "server.port": server.port or 0})
        span.end()
