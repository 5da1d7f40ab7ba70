"""The Ray Serve deployment that runs searches: many at once in each replica, never in the gateway's process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ray import serve

from service.engines.http import engine_client
from service.engines.policy import VllmPolicy
from service.engines.reward import VllmScorer
from service.errors import MullError, UnknownModel
from service.score_memory import score_memos
from service.search.answer_readers import AnswerReaders
from service.search.driver import Engines
from service.search.judging import judge
from service.search.ports import AnswerReader
from service.search.progress import Interest
from service.search.request import SearchRequest, WorkerReply
from service.search.score_request import ScoreReply, ScoreRequest
from service.search.search import search
from service.search.slots import Slots
from service.search.watch import Watch
from service.settings import PublicModel, Settings

APPLICATION = "mull"
_RESTART = "Restart it with mull up."


class SearchWorker:
    """One replica. Its engine connections, slots and answer readers are shared by all searches that it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers = AnswerReaders()
        self._policies = {
            name: (VllmPolicy(policy, engine_client(policy)), Slots(policy.slots))
            for name, policy in self._settings.policies.items()
        }
        self._memos = score_memos(settings)
        self._scorers = {
            name: (VllmScorer(reward, engine_client(reward)), Slots(reward.slots))
            for name, reward in self._settings.reward_models.items()
        }

    async def search(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Run one search: `SearchRequest` in, `WorkerReply` out, both as plain data.

        Cancelling the call stops the search and its engine requests.
        """
        return await self._search(request, deadline_s)

    async def watch(
        self, request: dict[str, Any], deadline_s: float, interest: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run one search as `search` does, and tell how it goes: any number of `Progress`, at last the `WorkerReply`.

        Closing the generator, or cancelling the call, stops the search and its engine requests.
        """
        watch = Watch(Interest.model_validate(interest))
        searching = asyncio.create_task(self._search(request, deadline_s, watch))
        try:
            async with aclosing(watch.deliveries(searching)) as deliveries:
                async for progress in deliveries:
                    yield progress.model_dump()
            yield await searching
        finally:
            searching.cancel()
            await asyncio.gather(searching, return_exceptions=True)

    async def _search(self, request: dict[str, Any], deadline_s: float, watch: Watch | None = None) -> dict[str, Any]:
        try:
            wanted = SearchRequest.model_validate(request)
            model = self._model(wanted.model)
            result = await search(
                wanted,
                deadline_s=deadline_s,
                settings=self._settings.policies[model.policy],
                engines=self._engines(model.policy, model.reward, self._readers.reader(wanted.answer)),
                watch=watch,
            )
        except MullError as error:
            return WorkerReply(error=error.to_wire()).model_dump()
        return WorkerReply(result=result).model_dump()

    async def score(self, request: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """Score solutions: `ScoreRequest` in, `ScoreReply` out, both as plain data.

        Cancelling the call stops the engine's requests.
        """
        try:
            wanted = ScoreRequest.model_validate(request)
            model = self._model(wanted.model)
            if model.reward is None:
                raise UnknownModel(f"The worker has no reward model for {wanted.model!r}.", hint=_RESTART)
            scorer, slots = self._scorers[model.reward]
            form = self._settings.policies[model.policy].steps
            memo = self._memos.get(model.reward)
            result = await judge(wanted, deadline_s=deadline_s, form=form, scorer=scorer, slots=slots, memo=memo)
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

    def _model(self, name: str) -> PublicModel:
        model = self._settings.models.get(name)
        if model is None:
            raise UnknownModel(f"The worker knows no model {name!r}.", hint=_RESTART)
        return model

    def _engines(self, policy_name: str, reward_name: str | None, reader: AnswerReader) -> Engines:
        policy, policy_slots = self._policies[policy_name]
        scorer, reward_slots = self._scorers[reward_name] if reward_name else (None, Slots(0))
        memo = self._memos.get(reward_name) if reward_name else None
        return Engines(policy, policy_slots, reader, scorer, reward_slots, memo)


def deploy(settings: Settings) -> None:
    """Put the search workers onto the Ray cluster that this process is connected to, and return when they run."""
    deployment = serve.deployment(
        num_replicas=settings.ray.replicas,
        max_ongoing_requests=settings.ray.searches_per_replica,
        max_queued_requests=settings.ray.searches_per_replica,
        ray_actor_options={"num_cpus": 0},
    )(SearchWorker)
    serve.start(proxy_location="Disabled")
    serve.run(deployment.bind(settings), name=APPLICATION, route_prefix=None)
