"""The search workers as the gateway sees them, and how they are reached over Ray Serve."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import (
    BackPressureError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle, DeploymentResponse, DeploymentResponseGenerator

from service.errors import EngineUnavailable, MullError, Overloaded, from_wire
from service.search.progress import Interest, Progress
from service.search.request import RewardUsage, SearchRequest, SearchResult, WorkerReply
from service.search.score_request import ScoreReply, ScoreRequest, ScoreResult
from service.worker import APPLICATION

_WORTH_A_RETRY_S = 1.0
_CONNECTING_S = 5.0
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
    """`Workers` in a Ray Serve application, connected at the first call."""

    def __init__(self, address: str | None) -> None:
        """`address` is the Ray cluster's, as `ray.init` takes it."""
        self._address = address
        self._connecting: asyncio.Task[DeploymentHandle[Any]] | None = None

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Search for at most `deadline_s` seconds from now. Cancelling the call stops the search.

        A replica that dies under a search is replaced by Ray; the search is asked once more where time and budget are
        left. What the lost replica had reserved counts as spent: of a limited budget that is all.
        """
        limited = request.budget.policy_tokens is not None or request.budget.reward_tokens is not None
        reply, lost = await self._asked("search", request.model_dump(), deadline_s, limited=limited)
        told = WorkerReply.model_validate(reply)
        result = _result(told.result, told.error)
        return _after_a_loss(result) if lost else result

    async def watch(
        self, request: SearchRequest, deadline_s: float, interest: Interest
    ) -> AsyncGenerator[Progress | SearchResult, None]:
        """Search as `search` does, and tell how it goes: any number of `Progress`, at last the result.

        A replica that dies is treated as in `search`, unless some of its text or its events have been told: those of
        another one may differ.
        """
        due = asyncio.get_running_loop().time() + deadline_s
        limited = request.budget.policy_tokens is not None or request.budget.reward_tokens is not None
        told = lost = False
        while True:
            reply: WorkerReply | None = None
            left = due - asyncio.get_running_loop().time()
            arguments = request.model_dump(), left, interest.model_dump()
            try:
                async with contextlib.aclosing(self._items("watch", *arguments)) as items:
                    async for item in items:  # to its end, so that Ray knows it to be over
                        if "error" in item:
                            reply = WorkerReply.model_validate(item)
                            continue
                        progress = Progress.model_validate(item)
                        told = told or progress.text != "" or progress.events != ()
                        yield progress
            except _WorkerLost:
                left = due - asyncio.get_running_loop().time()
                if limited or lost or told or left < _WORTH_A_RETRY_S:
                    raise
                _log.warning("a worker was lost during a search: asking another one")
                lost = True
                continue
            reply = reply or WorkerReply()
            result = _result(reply.result, reply.error)
            yield _after_a_loss(result) if lost else result
            return

    async def score(self, request: ScoreRequest, deadline_s: float) -> ScoreResult:
        """Score solutions for at most `deadline_s` seconds from now. Cancelling the call stops the scoring.

        A replica that dies meanwhile is treated as in a search.
        """
        limited = request.budget.reward_tokens is not None
        reply, lost = await self._asked("score", request.model_dump(), deadline_s, limited=limited)
        told = ScoreReply.model_validate(reply)
        result = _result(told.result, told.error)
        return result.model_copy(update={"usage": _estimated(result.usage)}) if lost else result

    async def ready(self) -> list[MullError]:
        """Have every engine generate or score once; return what went wrong, nothing if all of them did."""
        return [from_wire(error) for error in await self._call("ready")]

    async def contexts(self) -> dict[str, int]:
        """Return how many tokens each policy's engine takes, by the policy's name, as far as the engines tell now."""
        return dict(await self._call("contexts"))

    async def connect(self) -> None:
        """Connect now rather than at the first call; raises `EngineUnavailable`."""
        await self._handle()

    async def _asked(
        self, method: str, request: Mapping[str, Any], deadline_s: float, *, limited: bool
    ) -> tuple[Any, bool]:
        """Return a worker's reply, and whether another worker was lost on the way to it."""
        due = asyncio.get_running_loop().time() + deadline_s
        try:
            return await self._call(method, request, deadline_s), False
        except _WorkerLost:
            left = due - asyncio.get_running_loop().time()
            if limited or left < _WORTH_A_RETRY_S:
                raise
            _log.warning("a worker was lost during a %s: asking another one", method)
            return await self._call(method, request, left), True

    async def _call(self, method: str, *arguments: Any) -> Any:
        handle = await self._handle()
        response: DeploymentResponse[Any] = getattr(handle, method).remote(*arguments)
        with _translated(method):
            try:
                return await response
            except asyncio.CancelledError:
                _cancel(response)
                raise

    async def _items(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """Return what a worker's generator yields. Closed before its end, it stops the worker's."""
        handle = await self._handle()
        items: DeploymentResponseGenerator[Any] = getattr(handle.options(stream=True), method).remote(*arguments)
        over = False
        try:
            with _translated(method):
                async for item in items:
                    yield item
            over = True
        finally:
            if not over:
                _cancel(items)

    async def _handle(self) -> DeploymentHandle[Any]:
        if self._connecting is None or (self._connecting.done() and self._connecting.exception() is not None):
            self._connecting = asyncio.create_task(asyncio.to_thread(_connect, self._address))
        try:
            # Shielded: a client that goes away must not cut the connection others wait for.
            async with asyncio.timeout(_CONNECTING_S):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise EngineUnavailable(
                "The search workers cannot be reached yet.", hint="Try again in a moment, or run `mull doctor`."
            ) from None


@contextlib.contextmanager
def _translated(method: str) -> Iterator[None]:
    """Raise what Ray raises as errors of ours."""
    try:
        yield
    except BackPressureError:
        raise Overloaded("All search workers are full.", hint="Try again in a moment.") from None
    except (RayActorError, ReplicaUnavailableError, RequestCancelledError) as error:
        raise _WorkerLost(
            f"A search worker was lost ({type(error).__name__}).",
            hint="Try again in a moment: Ray replaces it.",
        ) from None
    except (RayError, RayServeException) as error:
        # Not the error's text: it ends with what the worker's exception says, which may quote a question.
        _log.error("worker call %s failed: %s", method, type(error).__name__)
        raise MullError("A search worker failed.", hint="Its log says why; report it if it stays.") from None


def _cancel(response: DeploymentResponse[Any] | DeploymentResponseGenerator[Any]) -> None:
    """Stop a replica's call: Ray lets it run on unless it is told (cancelling the await alone reaches nobody)."""
    with contextlib.suppress(RayError, RayServeException):
        response.cancel()  # type: ignore[no-untyped-call]


def _result(result: T | None, error: dict[str, Any] | None) -> T:
    if result is None:
        raise from_wire(error or {"class": "", "message": "A worker sent an empty reply.", "hint": "", "param": None})
    return result


def _after_a_loss(result: SearchResult) -> SearchResult:
    """Say that more was spent than anybody knows."""
    usage = result.usage
    policy = usage.policy.model_copy(update={"estimated": True})
    warning = "A search worker was lost on the way: what it had spent before is not in the usage."
    return result.model_copy(
        update={
            "usage": usage.model_copy(update={"policy": policy, "reward": _estimated(usage.reward)}),
            "warnings": (*result.warnings, warning),
        }
    )


def _estimated(usage: RewardUsage) -> RewardUsage:
    return usage.model_copy(update={"estimated": True})


class _WorkerLost(EngineUnavailable):
    """The replica that had the call is gone."""


def _connect(address: str | None) -> DeploymentHandle[Any]:
    if address is None:
        raise EngineUnavailable(
            "No Ray cluster is configured for the gateway.", hint="Start with `mull up`, or set ray.address."
        )
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        return serve.get_app_handle(APPLICATION)
    except (RayError, RayServeException, ConnectionError, RuntimeError, ValueError) as error:
        _log.warning("cannot reach the search workers: %s", error)
        raise EngineUnavailable(
            "The search workers cannot be reached.", hint="Run `mull doctor`, or try again in a moment."
        ) from None
