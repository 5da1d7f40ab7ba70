"""The gateway's connection to Ray: made by the first call, watched, and made anew when its cluster is gone."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.context import _disconnect
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

    def __init__(self, address: str | None) -> None:
        """`address` is the Ray cluster's, as `ray.init` takes it."""
        self._address = address
        self._connecting: asyncio.Task[DeploymentHandle[Any]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Timeout] = set()
        self._stale = False
        self._silent = False

    @property
    def problem(self) -> EngineUnavailable | None:
        """What is known to be wrong with the connection at this moment."""
        if not self._silent:
            return None
        return EngineUnavailable("The Ray cluster's head does not answer.", hint="Ray's logs say more.")

    async def handle(self) -> DeploymentHandle[Any]:
        """Return the workers' handle, connecting if need be; raises `EngineUnavailable`."""
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
            raise WorkerLost("The Ray cluster was lost.", hint="Try again in a moment.") from None
        finally:
            self._calls.discard(cut)

    async def aclose(self) -> None:
        """Stop watching and connecting. The connection itself ends with the process."""
        tasks = [task for task in (self._watching, self._connecting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> DeploymentHandle[Any]:
        anew, self._stale = self._stale, True  # after a failure too: what it left half done may be dead next time
        handle = await asyncio.to_thread(_connect, self._address, anew=anew)
        self._stale = self._silent = False
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(Membership()))
        return handle

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
        self._silent, self._stale = False, True
        self._connecting = None
        _log.warning("the Ray cluster is gone: %d calls are cut; connecting anew at the next", len(self._calls))
        while self._calls:
            self._calls.pop().reschedule(loop.time())


def _outcome(asking: asyncio.Task[bool]) -> bool | None:
    """Return the answer; `None` where none has come, or none can. Raises what is no failure of Ray's."""
    if not asking.done() or isinstance(asking.exception(), OSError | RayError):
        return None
    return asking.result()


def _connect(address: str | None, *, anew: bool) -> DeploymentHandle[Any]:
    """Return the application's handle; blocks for as long as Ray takes. `anew`: what was connected before is dead."""
    if address is None:
        raise EngineUnavailable(
            "No Ray cluster is configured for the gateway.", hint="Start with `mull up`, or set ray.address."
        )
    try:
        if anew:
            ray.shutdown()
            # Serve takes its client for a current one where the new cluster has given us the same job number.
            _disconnect()  # type: ignore[no-untyped-call]
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        return serve.get_app_handle(APPLICATION)
    except Exception as error:  # Ray raises all kinds here, bare ones too
        _log.warning("cannot reach the search workers: %s: %s", type(error).__name__, error)
        raise EngineUnavailable(
            "The search workers cannot be reached.", hint="Run `mull doctor`, or try again in a moment."
        ) from None
