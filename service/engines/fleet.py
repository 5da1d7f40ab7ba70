"""One engine, whichever of its servers answers: JSON in, JSON or server-sent events out."""

import copy
import json
from collections.abc import Awaitable, Callable, Hashable
from hashlib import blake2b
from types import TracebackType
from typing import Any, Self, TypeVar

from service.engines.affinity import Affinity, Route
from service.engines.dispatch import Dispatch, Errand
from service.engines.failures import as_bad_request, refused, rubbish, unusable
from service.engines.replica import Replica
from service.engines.stream import EngineStream
from service.errors import EngineError, MullError
from service.search.ports import Place
from service.settings import Engine

Json = dict[str, Any]
T = TypeVar("T")


class Fleet:
    """The replicas of one engine, as one worker sees them; requests raise `EngineError`, its children, or what is said.

    A request that is sent with a `request_id` (see `new_request_id`) can be given up by name. What fails for a fault of
    the replica's is sent again, within a budget: all but a stream that may have begun. `route` chooses between the
    replicas that are well, see `Affinity`; `place` tells where a request stands. What can be counted is in `replicas`,
    `retried` and `spilled` (of `Affinity` alone).

    Raises `ValueError` where the engine has no `url`. Connections are opened by the first request, so that this can be
    made outside an event loop.
    """

    def __init__(self, engine: Engine, *, route: Route[Replica] | None = None) -> None:
        urls = engine.urls
        if not urls:
            raise ValueError(f"{engine.name} has no url: say in mull.yaml where it runs, or start it with `mull up`")
        self.title = engine.title
        self.model = engine.name
        self._affinity = Affinity()
        self._route: Route[Replica] = route or self._affinity
        self._named: dict[str, Errand] = {}
        alone = len(urls) == 1
        titles = [self.title if alone else f"{self.title} (server {i} of {len(urls)})" for i in range(1, len(urls) + 1)]
        replicas = [Replica(engine, url, title, alone=alone) for url, title in zip(urls, titles, strict=True)]
        self._dispatch = Dispatch(self.title, replicas, self._route)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """All of them, also those that fail."""
        return tuple(self._dispatch.replicas)

    @property
    def retried(self) -> int:
        """How many requests were given out again."""
        return self._dispatch.retried

    @property
    def spilled(self) -> int:
        """How many requests were kept off the replica that has most of their prompt, since it had too much to do."""
        return self._affinity.spilled

    def each(self) -> list[Self]:
        """Return each replica as a fleet of its own, over the same connections: to be asked itself."""
        return [self] if len(self.replicas) == 1 else [self._alone(replica) for replica in self.replicas]

    def place(self, question: bytes, *trail: Hashable) -> Place | None:
        """Return where a request stands; `None` where there is nothing to choose."""
        if len(self._dispatch.replicas) == 1:
            return None
        return Place(blake2b(question, digest_size=16).digest(), trail)

    async def get(self, path: str) -> Json:
        """Return the JSON object at `path`."""
        return await self._whole("GET", path, self._object)

    async def text(self, path: str) -> str:
        """Return the plain text at `path`."""
        return await self._whole("GET", path, lambda content: content.decode("utf-8", "replace"))

    async def post(
        self,
        path: str,
        body: Json,
        *,
        bad_request: type[MullError] = EngineError,
        request_id: str | None = None,
        place: Place | None = None,
    ) -> Json:
        """Send `body`, with the model's name, and return the JSON object that comes back.

        Status 400 is raised as `bad_request`: a chat that a template refuses is the client's to mend. Of an answer that
        came only after another replica may have done the same work, the `usage` is left out: it is not the whole cost.
        """
        sent = {"model": self.model, **body}
        return await self._whole("POST", path, self._object, sent, bad_request, request_id, place)

    def stream(
        self,
        path: str,
        body: Json,
        *,
        request_id: str,
        bad_request: type[MullError] = EngineError,
        place: Place | None = None,
    ) -> EngineStream:
        """Send `body`, with the model's name, and return the events that come back, to be closed by the caller.

        Reading them raises status 400 as `bad_request`.
        """
        sent = {"model": self.model, **body}
        errand = self._errand(place, request_id)
        return EngineStream(
            errand,
            lambda replica: replica.send("POST", path, sent, request_id),
            served_name=self.model,
            bad_request=bad_request,
            closed=lambda: self._forget(request_id),
        )

    def pays_again(self, error: EngineError) -> bool:
        """Whether work that `error` has cut off may be asked for once more, from its beginning; pays for it if so."""
        return error.elsewhere and len(self._dispatch.replicas) > 1 and self._dispatch.budget.spend()

    async def give_up(self, request_id: str, read_on: Callable[[], Awaitable[object]]) -> None:
        """Abort a request, at once, and let `read_on` read what comes of it, see `Aborts.end`."""
        errand = self._named.get(request_id)
        if errand is not None:
            errand.given_up = True
            await errand.replica.aborts.end(request_id, read_on)

    async def context_length(self) -> int:
        """Return the longest prompt plus continuation that the engine takes, in tokens."""
        data = (await self.get("/v1/models")).get("data")
        cards = {card.get("id"): card for card in data if isinstance(card, dict)} if isinstance(data, list) else {}
        if self.model not in cards:
            known = ", ".join(sorted(str(name) for name in cards))
            hint = f"Set served_name to one of: {known}."
            raise unusable(self.title, "serves no model of that name", hint=hint)
        card = cards[self.model]
        length = card.get("max_model_len") or cards.get(card.get("parent"), {}).get("max_model_len")
        if not isinstance(length, int):
            raise unusable(self.title, "does not tell its context length", hint="Is it a vLLM server?")
        return length

    async def aclose(self) -> None:
        """Close the connections; what is in flight fails."""
        for replica in self.replicas:
            await replica.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.aclose()

    def _alone(self, replica: Replica) -> Self:
        one = copy.copy(self)
        one.title = replica.title
        one._dispatch = Dispatch(replica.title, [replica], self._route)
        return one

    async def _whole(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        body: Json | None = None,
        bad_request: type[MullError] = EngineError,
        request_id: str | None = None,
        place: Place | None = None,
    ) -> T:
        errand = self._errand(place, request_id)
        try:
            while True:
                try:
                    status, content = await errand.replica.whole(method, path, body, request_id)
                    if status != 200:
                        failure = refused(errand.replica.title, status, content, served_name=self.model)
                        raise as_bad_request(failure, status, bad_request)
                    answer = read(content)
                except EngineError as error:
                    await errand.again(error, whatever_was_done=True)
                except MullError:
                    errand.refused()
                    raise
                else:
                    errand.answered()
                    if errand.work_lost and isinstance(answer, dict):
                        answer.pop("usage", None)
                    return answer
        finally:
            errand.left()
            self._forget(request_id)

    def _errand(self, place: Place | None, request_id: str | None) -> Errand:
        errand = Errand(self._dispatch, place)
        if request_id is not None:
            self._named[request_id] = errand
        return errand

    def _forget(self, request_id: str | None) -> None:
        if request_id is not None:
            self._named.pop(request_id, None)

    def _object(self, content: bytes) -> Json:
        try:
            parsed = json.loads(content)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise rubbish(self.title, "did not answer with a JSON object", hint="Is it a vLLM server?")
        return parsed
