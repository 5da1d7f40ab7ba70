"""What a replica of the search workers does: many searches at once, never in the gateway's process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Any

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.reward import VllmScorer
from service.errors import MullError, UnknownModel
from service.log_lines import log_to_stderr
from service.meter import Meter, RayMeter
from service.pool import CandidatePools
from service.redis_allowance import WORKER_SHARE, allowance
from service.redis_link import RedisLink
from service.score_memory import score_memos
from service.search.answer_readers import AnswerReaders
from service.search.driver import Engines
from service.search.judging import judge
from service.search.memo import ScoreMemo
from service.search.ports import AnswerReader
from service.search.progress import Interest
from service.search.request import Memory, SearchRequest, WorkerReply
from service.search.score_request import ScoreReply, ScoreRequest
from service.search.search import search
from service.search.slots import Slots
from service.search.watch import Watch
from service.settings import PublicModel, Settings
from service.tracing.carried import Headers, here
from service.tracing.start import tracing_for
from service.worker_health import AnswerCheck
from service.worker_metrics import WorkerMetrics

if TYPE_CHECKING:
    from service.tracing.spans import SearchSpan

_RESTART = "Restart it with mull up."


class SearchWorker:
    """One replica. Its engine connections, slots and answer readers are shared by all searches that it runs."""

    def __init__(self, settings: Settings, meter: Meter | None = None) -> None:
        log_to_stderr()
        self._settings = settings
        self._readers = AnswerReaders()
        self._answers = AnswerCheck()
        fleets = {("policy", name): Fleet(policy) for name, policy in settings.policies.items()}
        fleets |= {("reward", name): Fleet(reward) for name, reward in settings.reward_models.items()}
        self._metrics = WorkerMetrics(meter or RayMeter(), fleets)
        self._policies = {
            name: (VllmPolicy(policy, fleets["policy", name]), Slots(policy.capacity))
            for name, policy in settings.policies.items()
        }
        self._link = RedisLink(settings.redis)
        self._memos = score_memos(settings, self._link)
        self._pools = CandidatePools(settings, self._link)
        # Ray Serve awaits this when it ends a replica. Were it a method, Python would call it as well.
        self.__del__ = self._aclose
        self._tracing = tracing_for(settings.tracing, "worker")
        self._redis_s = WORKER_SHARE * settings.redis.timeout_ms / 1000
        self._scorers = {
            name: (VllmScorer(reward, fleets["reward", name]), Slots(reward.capacity))
            for name, reward in settings.reward_models.items()
        }

    async def search(
        self, request: dict[str, Any], deadline_s: float, context: Headers | None = None
    ) -> dict[str, Any]:
        """Run one search: `SearchRequest` in, `WorkerReply` out, both as plain data.

        `context` says where in a trace it is. Cancelling the call stops the search and its engine requests.
        """
        return await self._search(request, deadline_s, context)

    async def watch(
        self, request: dict[str, Any], deadline_s: float, interest: dict[str, Any], context: Headers | None = None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run one search as `search` does, and tell how it goes: any number of `Progress`, at last the `WorkerReply`.

        Closing the generator, or cancelling the call, stops the search and its engine requests.
        """
        watch = Watch(Interest.model_validate(interest))
        searching = asyncio.create_task(self._search(request, deadline_s, context, watch))
        try:
            async with aclosing(watch.deliveries(searching)) as deliveries:
                async for progress in deliveries:
                    yield progress.model_dump()
            yield await searching
        finally:
            searching.cancel()
            await asyncio.gather(searching, return_exceptions=True)

    async def _search(
        self, request: dict[str, Any], deadline_s: float, context: Headers | None, watch: Watch | None = None
    ) -> dict[str, Any]:
        here.set(context)
        try:
            wanted = SearchRequest.model_validate(request)
            model = self._model(wanted.model)
            reader = self._readers.reader(wanted.answer)
            self._answers.uses(wanted.answer, reader)
            engines = self._engines(model, reader, wanted.memory)
            span = self._span(wanted, deadline_s, context)
            with allowance(self._redis_s), self._metrics.search(wanted.strategy.name) as tally, span or nullcontext():
                if span is not None:
                    engines = span.engines(engines, model.policy, model.reward)
                result = await search(
                    wanted,
                    deadline_s=deadline_s,
                    settings=self._settings.policies[model.policy],
                    engines=engines,
                    pool=self._pools.of(wanted),
                    watch=watch,
                    hear=tally.saw,
                )
                if span is not None:
                    span.found(result)
        except MullError as error:
            return WorkerReply(error=error.to_wire()).model_dump()
        return WorkerReply(result=result).model_dump()

    async def score(self, request: dict[str, Any], deadline_s: float, context: Headers | None = None) -> dict[str, Any]:
        """Score solutions: `ScoreRequest` in, `ScoreReply` out, both as plain data.

        Cancelling the call stops the engine's requests.
        """
        here.set(context)
        try:
            wanted = ScoreRequest.model_validate(request)
            model = self._model(wanted.model)
            if model.reward is None:
                raise UnknownModel(f"The worker has no reward model for {wanted.model!r}.", hint=_RESTART)
            vllm, slots = self._scorers[model.reward]
            form = self._settings.policies[model.policy].steps
            memo = self._memo(model.reward, wanted.memory)
            span = self._span(wanted, deadline_s, context)
            with allowance(self._redis_s), span or nullcontext():
                scorer = vllm if span is None else span.scorer(vllm, model.reward)
                result = await judge(wanted, deadline_s=deadline_s, form=form, scorer=scorer, slots=slots, memo=memo)
                if span is not None:
                    span.scored(result)
        except MullError as error:
            return ScoreReply(error=error.to_wire()).model_dump()
        return ScoreReply(result=result).model_dump()

    async def ready(self) -> list[dict[str, Any]]:
        """Ask each policy for one token and each reward model for one score; return the errors, as plain data."""
        probes = [policy.ready() for policy, _ in self._policies.values()]
        probes += [scorer.ready() for scorer, _ in self._scorers.values()]
        outcomes = await asyncio.gather(*probes, return_exceptions=True)
        unexpected = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, MullError)]
        if unexpected:
            raise unexpected[0]
        return [outcome.to_wire() for outcome in outcomes if isinstance(outcome, MullError)]

    async def contexts(self) -> dict[str, int]:
        """Return the longest prompt plus continuation of each policy whose engine tells it now, in tokens, by name."""
        policies = {name: policy for name, (policy, _) in self._policies.items()}
        outcomes = await asyncio.gather(*(policy.open() for policy in policies.values()), return_exceptions=True)
        return {name: policies[name].context for name, error in zip(policies, outcomes, strict=True) if error is None}

    async def check_health(self) -> None:
        """Raise where another replica could do what this one cannot any more: Serve calls this, and replaces it.

        That the event loop turns is shown by an answer in time. Engines are not asked: a new replica heals none.
        """
        self._metrics.look()
        await self._answers.check()

    async def _aclose(self) -> None:
        await self._pools.aclose()
        await self._link.aclose()
        if self._tracing is not None:
            await self._tracing.aclose()

    def _span(
        self, request: SearchRequest | ScoreRequest, deadline_s: float, context: Headers | None
    ) -> "SearchSpan | None":
        """Begin a span, where tracing is on here; a gateway that traces nothing says nothing of where it is."""
        return None if self._tracing is None else self._tracing.search(request, deadline_s, context or {})

    def _model(self, name: str) -> PublicModel:
        model = self._settings.models.get(name)
        if model is None:
            raise UnknownModel(f"The worker knows no model {name!r}.", hint=_RESTART)
        return model

    def _engines(self, model: PublicModel, reader: AnswerReader, memory: Memory) -> Engines:
        policy, policy_slots = self._policies[model.policy]
        scorer, reward_slots = self._scorers[model.reward] if model.reward else (None, Slots(0))
        memo = self._memo(model.reward, memory) if model.reward else None
        return Engines(policy, policy_slots, reader, scorer, reward_slots, memo)

    def _memo(self, reward_name: str, memory: Memory) -> ScoreMemo | None:
        memo = self._memos.get(reward_name)
        if memo is None or memory == "none":
            return None
        return memo if memory == "use" else memo.afresh()
