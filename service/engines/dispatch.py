"""Requests on their way: which replica has each, and what happens to it when that one fails."""

import asyncio
from collections.abc import Sequence

from service.engines.affinity import Route
from service.engines.failures import out_of_service
from service.engines.outcome import Outcome
from service.engines.replica import Replica
from service.engines.retry import MOST_TRIES, RetryBudget, pause_s
from service.errors import EngineError, EngineTimeout, EngineUnavailable
from service.search.ports import Place


class Dispatch:
    """Gives requests to the replicas of one engine that can be asked; `retried` counts those given out again."""

    def __init__(self, title: str, replicas: Sequence[Replica], route: Route[Replica]) -> None:
        self.replicas = replicas
        self.budget = RetryBudget()
        self.retried = 0
        self._title = title
        self._route = route

    def choose(self, place: Place | None, tried: Sequence[Replica] = ()) -> Replica:
        """Return the replica for a request, one that has not been tried where there is one.

        Raises `EngineUnavailable`, at once, where none is to be asked now.
        """
        up = [replica for replica in self.replicas if replica.breaker.lets_in]
        if not up:
            whys = [replica.breaker.why.message for replica in self.replicas if replica.breaker.why is not None]
            raise out_of_service(self._title, whys)
        if len(self.replicas) == 1:
            return up[0]
        return self._route([replica for replica in up if replica not in tried] or up, place)


class Errand:
    """One request, which is part of the load of the replica that has it until it is over.

    Raises `EngineUnavailable` where there is none. `work_lost`: a replica that failed may have worked on it.
    `given_up`: nobody waits for it any more, so that it is not sent again.
    """

    def __init__(self, dispatch: Dispatch, place: Place | None) -> None:
        self.work_lost = False
        self.given_up = False
        self._dispatch = dispatch
        self._place = place
        self._tried: list[Replica] = []
        self._take(dispatch.choose(place))
        dispatch.budget.earn()

    def answered(self) -> None:
        """It is over, and the replica did what it should."""
        if self._drop("ok"):
            self.replica.breaker.succeeded(self._epoch)

    def failed(self, error: EngineError) -> None:
        """It is over, and failed; a fault of the replica's counts against it."""
        if self._drop("failed" if error.elsewhere else "refused"):
            if error.elsewhere:
                self.replica.breaker.failed(self._epoch, error)
            else:
                self.replica.breaker.succeeded(self._epoch)

    def refused(self) -> None:
        """It is over: the replica has found it at fault."""
        if self._drop("refused"):
            self.replica.breaker.succeeded(self._epoch)

    def left(self) -> None:
        """It is over, if it was not before; nothing is known of the replica."""
        self._drop("left")

    async def again(self, error: EngineError, *, whatever_was_done: bool) -> None:
        """Give the request to a replica once more, after a pause.

        Raises `error` where that would be of no use or is no longer paid for, and where the replica may have worked on
        the request, unless it may be repeated `whatever_was_done`.
        """
        self.failed(error)
        self._tried.append(self.replica)
        safe = error.elsewhere and (whatever_was_done or not error.begun)
        if isinstance(error, EngineTimeout):  # it has had its time: only another can do better
            safe = safe and len(self._tried) < len(self._dispatch.replicas)
        if not safe or self.given_up or len(self._tried) >= MOST_TRIES or not self._dispatch.budget.spend():
            raise error
        await asyncio.sleep(pause_s(len(self._tried)))
        if self.given_up:
            raise error
        try:
            chosen = self._dispatch.choose(self._place, self._tried)
        except EngineUnavailable:
            raise error from None
        self.work_lost = self.work_lost or error.begun
        self._dispatch.retried += 1
        self._take(chosen)

    def _take(self, replica: Replica) -> None:
        self.replica = replica
        self._epoch = replica.breaker.epoch
        self._held = True
        replica.load += 1
        replica.routed += 1

    def _drop(self, outcome: Outcome) -> bool:
        """Return whether a replica had it until now."""
        held, self._held = self._held, False
        if held:
            self.replica.load -= 1
            self.replica.over[outcome] += 1
        return held
