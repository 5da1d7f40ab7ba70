"""The gateway's connection to Ray: made by the first call, watched, and given up when its cluster is gone.

A process belongs to one Ray cluster in its life: Ray ends a process that has lost its cluster whenever it pleases, and
what one has left behind stays in it. So a gateway whose cluster is gone ends, and what started it starts it again.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from service.errors import EngineUnavailable, MullError, Overloaded
from service.ray_membership import Membership
from service.serve_app import APPLICATION

CONNECTING_S = 5.0
"""Longest that one call waits for a connection; the attempt itself goes on, and ends by Ray's own time-outs."""
WATCH_S, ANSWER_S = 2.0, 5.0
"""How often the cluster is asked whether this process still belongs to it, and when it counts as silent."""
SILENT_S = 0.75 * float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112  # Ray's name
"""How long the cluster's head may be silent before it is given up: some time later Ray would end this process.

Searches in flight go on meanwhile: their workers can be reached without the head, which may come back.
"""
_log = logging.getLogger("mull.gateway")


class WorkerLost(EngineUnavailable):
    """The replica that had the call is gone: to a client, one more thing that is not available now."""

    code = "EngineUnavailable"


class RayLink:
    """One process's connection to the Ray Serve application, for one event loop."""

    def __init__(self, address: str | None, on_gone: Callable[[], None]) -> None:
        """`address` is the Ray cluster's, as `ray.init` takes it; `on_gone` is called once it is gone for good."""
        self._address = address
        self._on_gone = on_gone
        self._connecting: asyncio.Task[DeploymentHandle[Any]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Timeout] = set()
        self._silent = False
        self._gone = False

    @property
    def problem(self) -> EngineUnavailable | None:
        """What is known to be wrong with the connection at this moment."""
        if self._gone:
            return _lost()
        if self._silent:
            return EngineUnavailable("The Ray cluster's head does not answer.", hint="Ray's logs say more.")
        return None

    async def handle(self) -> DeploymentHandle[Any]:
        """Return the workers' handle, connecting if need be; raises `EngineUnavailable`."""
        if self._gone:
            raise _lost()
        if self._connecting is None or (self._connecting.done() and self._connecting.exception() is not None):
            self._connecting = asyncio.create_task(self._connect())
        try:
            # Shielded: a client that goes away must not cut the connection others wait for.
            async with asyncio.timeout(CONNECTING_S):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise EngineUnavailable(
                "The search workers cannot be reached yet.", hint="Try again in a moment, or run `mull doctor`."
            ) from None

    @asynccontextmanager
    async def calling(self, method: str) -> AsyncIterator[None]:
        """Raise what Ray raises as errors of ours, and `WorkerLost` where the cluster goes away meanwhile."""
        cut = asyncio.timeout(None)
        self._calls.add(cut)
        try:
            async with cut:
                yield
        except BackPressureError:
            raise Overloaded("All search workers are full.", hint="Try again in a moment.") from None
        except (RayActorError, ReplicaUnavailableError, TaskCancelledError) as error:
            raise WorkerLost(
                f"A search worker was lost ({type(error).__name__}).",
                hint="Try again in a moment: Ray replaces it.",
            ) from None
        except DeploymentUnavailableError:
            raise EngineUnavailable("The search workers did not start.", hint="Their log says why.") from None
        except (RayError, RayServeException) as error:
            # Not the error's text: it ends with what the worker's exception says, which may quote a question.
            _log.error("worker call %s failed: %s", method, type(error).__name__)
            raise MullError("A search worker failed.", hint="Its log says why; report it if it stays.") from None
        except TimeoutError:
            if not cut.expired():
                raise
            raise _lost() from None
        finally:
            self._calls.discard(cut)

    async def aclose(self) -> None:
        """Stop watching and connecting. The connection itself ends with the process."""
        tasks = [task for task in (self._watching, self._connecting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> DeploymentHandle[Any]:
        if self._watching is None:
            await asyncio.to_thread(_join, self._address)
            _take_back_sigterm()
            # From now on, whether the application is there yet or not: this process has no second cluster.
            self._watching = asyncio.create_task(self._watch(Membership()))
        return await asyncio.to_thread(_application)

    async def _watch(self, membership: Membership) -> None:
        """Return when this process belongs to no cluster any more, having told those who wait for one of its workers.

        Nobody would ever answer them: Ray waits for the replicas that it knew.
        """
        loop = asyncio.get_running_loop()
        heard = loop.time()
        asking: asyncio.Task[bool] | None = None
        while loop.time() - heard < SILENT_S:
            await asyncio.sleep(WATCH_S)
            asking = asking or asyncio.create_task(asyncio.to_thread(membership.holds))
            await asyncio.wait({asking}, timeout=ANSWER_S)
            answer = _outcome(asking)
            if answer is False:
                break
            self._silent = answer is None
            heard = heard if self._silent else loop.time()
            asking = None if asking.done() else asking
        self._gone = True
        _log.error("the Ray cluster is gone: %d calls are cut, and this gateway ends", len(self._calls))
        while self._calls:
            self._calls.pop().reschedule(loop.time())
        self._on_gone()


def _lost() -> WorkerLost:
    return WorkerLost("The Ray cluster was lost.", hint="Try again in a moment: the gateway is started anew.")


def _outcome(asking: asyncio.Task[bool]) -> bool | None:
    """Return the answer; `None` where none has come, or none can. Raises what is no failure of Ray's."""
    if not asking.done() or isinstance(asking.exception(), OSError | RayError):
        return None
    return asking.result()


def _join(address: str | None) -> None:
    """Make this process one of the cluster's; blocks for as long as Ray takes."""
    if address is None:
        raise EngineUnavailable(
            "No Ray cluster is configured for the gateway.", hint="Start with `mull up`, or set ray.address."
        )
    with _reached():
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, configure_logging=False)


def _take_back_sigterm() -> None:
    """Undo what Ray does on joining: with its handler before ours a process is aborted three seconds after SIGTERM.

    Only a main thread can have a handler, and only what Python has installed is known.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _application() -> DeploymentHandle[Any]:
    """Return the workers' handle; blocks for as long as Ray takes."""
    with _reached():
        return serve.get_app_handle(APPLICATION)


@contextmanager
def _reached() -> Iterator[None]:
    """Raise what Ray raises as `EngineUnavailable`."""
    try:
        yield
    except Exception as error:  # Ray raises all kinds here, bare ones too
        _log.warning("cannot reach the search workers: %s: %s", type(error).__name__, error)
        raise EngineUnavailable(
            "The search workers cannot be reached.", hint="Run `mull doctor`, or try again in a moment."
        ) from None
