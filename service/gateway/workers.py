"""The search workers as the gateway sees them, and how they are reached over Ray Serve."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentResponse, DeploymentResponseGenerator

from service.errors import MullError, from_wire
from service.gateway.loss import after_a_loss, estimated, is_limited, what_is_left
from service.gateway.ray_link import RayLink, WorkerLost
from service.search.progress import Committed, Interest, Progress
from service.search.request import SearchRequest, SearchResult, WorkerReply
from service.search.score_request import ScoreReply, ScoreRequest, ScoreResult
from service.tracing.carried import along

WORTH_A_RETRY_S = 1.0
"""With less time than this a search that was lost is not made again."""
PAUSE_S = 0.05, 0.25
"""Bounds of the pause before that, drawn at random: a worker takes many searches with it."""
_NOTHING = Progress()
_log = logging.getLogger("mull.gateway")

T = TypeVar("T")


class Workers(Protocol):
    """Where searches run. All calls raise `MullError` and its children, and nothing else."""

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Search for at most `deadline_s` seconds from now. Cancelling the call stops the search."""
        ...

    def watch(
        self, request: SearchRequest, deadline_s: float, interest: Interest
    ) -> AsyncGenerator[Progress | SearchResult, None]:
        """Search as `search` does, and tell how it goes: any number of `Progress`, at last the result.

        Closing the generator, or cancelling the task that reads it, stops the search.
        """
        ...

    async def score(self, request: ScoreRequest, deadline_s: float) -> ScoreResult:
        """Score solutions for at most `deadline_s` seconds from now. Cancelling the call stops the scoring."""
        ...

    async def ready(self) -> list[MullError]:
        """Have every engine generate or score once; return what went wrong, nothing if all of them did."""
        ...

    async def contexts(self) -> dict[str, int]:
        """Return how many tokens each policy's engine takes, by the policy's name, as far as the engines tell now."""
        ...


class RayWorkers:
    """`Workers` in a Ray Serve application, connected at the first call.

    A replica that dies or ends under a call is replaced by Ray; the call is made once more, elsewhere, where time and
    budget are left.
    """

    def __init__(self, address: str | None, on_gone: Callable[[], None]) -> None:
        """`address` is the Ray cluster's, as `ray.init` takes it; `on_gone` is called once it is gone for good."""
        self._link = RayLink(address, on_gone)

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Search for at most `deadline_s` seconds from now. Cancelling the call stops the search.

        One with limits is looked on at, so that it is known what a worker that is lost leaves of them.
        """
        if is_limited(request.budget):
            async with aclosing(self.watch(request, deadline_s, Interest())) as told:
                return await _last(told)
        reply, lost = await self._asked("search", request.model_dump(), deadline_s)
        answer = WorkerReply.model_validate(reply)
        result = _result(answer.result, answer.error)
        return after_a_loss(result, Committed()) if lost else result

    async def watch(
        self, request: SearchRequest, deadline_s: float, interest: Interest
    ) -> AsyncGenerator[Progress | SearchResult, None]:
        """Search as `search` does, and tell how it goes: any number of `Progress`, at last the result.

        What a lost replica has told of its text or its events cannot be taken back: then there is no second search,
        which may tell something else.
        """
        due = asyncio.get_running_loop().time() + deadline_s
        interest = interest.model_copy(update={"committed": is_limited(request.budget)})
        told, lost = False, None
        while True:
            reply, committed = WorkerReply(), Committed()
            left = due - asyncio.get_running_loop().time()
            arguments = request.model_dump(), left, interest.model_dump()
            try:
                async with aclosing(self._items("watch", *arguments, *along())) as items:
                    async for item in items:  # to its end, so that Ray knows it to be over
                        if "error" in item:
                            reply = WorkerReply.model_validate(item)
                            continue
                        progress = Progress.model_validate(item)
                        committed = progress.committed or committed
                        progress = progress.model_copy(update={"committed": None})
                        told = told or progress.text != "" or progress.events != ()
                        if progress != _NOTHING:
                            yield progress
            except WorkerLost:
                if told or lost is not None or not _worth_a_retry(due):
                    raise
                await _pause("search")
                lost, request = committed, what_is_left(request, committed)
                continue
            result = _result(reply.result, reply.error)
            yield after_a_loss(result, lost) if lost is not None else result
            return

    async def score(self, request: ScoreRequest, deadline_s: float) -> ScoreResult:
        """Score solutions for at most `deadline_s` seconds from now. Cancelling the call stops the scoring.

        Of a limited budget the lost replica may have spent all: then there is no second call.
        """
        limited = request.budget.reward_tokens is not None
        reply, lost = await self._asked("score", request.model_dump(), deadline_s, again=not limited)
        answer = ScoreReply.model_validate(reply)
        result = _result(answer.result, answer.error)
        return result.model_copy(update={"usage": estimated(result.usage)}) if lost else result

    async def ready(self) -> list[MullError]:
        """Have every engine generate or score once; return what went wrong, nothing if all of them did."""
        if self._link.problem is not None:
            return [self._link.problem]
        return [from_wire(error) for error in await self._call("ready")]

    async def contexts(self) -> dict[str, int]:
        """Return how many tokens each policy's engine takes, by the policy's name, as far as the engines tell now."""
        return dict(await self._call("contexts"))

    async def connect(self) -> None:
        """Connect now rather than at the first call; raises `EngineUnavailable`."""
        await self._link.handle()

    async def aclose(self) -> None:
        """End what goes on beside the calls; those must be over."""
        await self._link.aclose()

    async def _asked(
        self, method: str, request: Mapping[str, Any], deadline_s: float, *, again: bool = True
    ) -> tuple[Any, bool]:
        """Return a worker's reply, and whether another worker was lost on the way to it."""
        due = asyncio.get_running_loop().time() + deadline_s
        try:
            return await self._call(method, request, deadline_s, *along()), False
        except WorkerLost:
            if not again or not _worth_a_retry(due):
                raise
            await _pause(method)
            left = due - asyncio.get_running_loop().time()
            return await self._call(method, request, left, *along()), True

    async def _call(self, method: str, *arguments: Any) -> Any:
        handle = await self._link.handle()
        async with self._link.calling(method):
            response: DeploymentResponse[Any] = getattr(handle, method).remote(*arguments)
            try:
                return await response
            except asyncio.CancelledError:
                _cancel(response)
                raise

    async def _items(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """Return what a worker's generator yields. Closed before its end, it stops the worker's."""
        handle = await self._link.handle()
        items: DeploymentResponseGenerator[Any] = getattr(handle.options(stream=True), method).remote(*arguments)
        over = False
        try:
            while True:
                async with self._link.calling(method):
                    item = await anext(items, None)
                if item is None:
                    break
                yield item
            over = True
        finally:
            if not over:
                _cancel(items)


def _worth_a_retry(due: float) -> bool:
    return due - asyncio.get_running_loop().time() - PAUSE_S[1] >= WORTH_A_RETRY_S


async def _pause(method: str) -> None:
    """Wait a moment before another worker is asked."""
    _log.warning("a worker was lost during a %s: asking another one", method)
    await asyncio.sleep(random.uniform(*PAUSE_S))


async def _last(told: AsyncGenerator[Progress | SearchResult, None]) -> SearchResult:
    """Return the result, which is the last that is told."""
    async for item in told:
        if isinstance(item, SearchResult):
            return item
    raise AssertionError("a search told no result, and no error")


def _cancel(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> None:
    """Stop a replica's call: Ray lets it run on unless it is told (cancelling the await alone reaches nobody)."""
    with suppress(RayError, RayServeException):
        response.cancel()  # type: ignore[no-untyped-call]


def _result(result: T | None, error: dict[str, Any] | None) -> T:
    if result is None:
        raise from_wire(error or {"class": "", "message": "A worker sent an empty reply.", "hint": "", "param": None})
    return result
