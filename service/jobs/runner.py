"""One gateway's share of the jobs: takes up what is due, holds its lease, and writes down what it came to."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.errors import JobsUnavailable
from service.jobs.scripts import FORMAT
from service.jobs.store import Ended, Ending, JobStore, Lease
from service.jobs.unreadable import MISTAKE, OTHER_VERSION, unreadable


@dataclass(frozen=True, slots=True)
class Again:
    """A job that could not be done now: to be tried in `after_s` seconds. `counted`: it was one of its attempts."""

    after_s: float
    counted: bool


Work = Callable[[Lease], Awaitable[Ending | Again]]
"""Does a job. Raises nothing but `JobsUnavailable`, after which the lease runs out; cancelled, it stops at once."""

BEAT_S = 0.5
"""How often leases are renewed, what is due is looked for, and what was cancelled elsewhere is noticed."""

_log = logging.getLogger("mull.jobs")


class Runner:
    """Does up to `at_once` jobs of a `store` by `work`; `ended` is told what each came to.

    A lease that could not be renewed in time may be taken up by another gateway: then both do the job, and only the
    one that holds the newest lease is heard.
    """

    def __init__(
        self, store: JobStore, work: Work, at_once: int, ended: Callable[[Ended], None] = lambda _: None
    ) -> None:
        self._store = store
        self._work = work
        self._at_once = at_once
        self._ended = ended
        self._doing: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._silent = False

    @property
    def doing(self) -> frozenset[str]:
        """The names of the jobs that this runner has."""
        return frozenset(self._doing)

    def wake(self) -> None:
        """Look for what is due now rather than at the next beat."""
        self._wake.set()

    def stop(self, id: str) -> None:
        """Stop a job that was cancelled or deleted, if it is this runner's."""
        if id in self._doing:
            self._doing[id][1].cancel()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for as long as the context lasts; then stop what is being done and give it back."""
        if not self._store.on:
            yield
            return
        beating = asyncio.create_task(self._beats())
        try:
            yield
        finally:
            beating.cancel()
            leases = [lease for lease, _ in self._doing.values()]
            tasks = [task for _, task in self._doing.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(beating, *tasks, return_exceptions=True)
            with contextlib.suppress(JobsUnavailable):
                for lease in leases:
                    await self._store.release(lease)

    async def _beats(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._renew()
                await self._fill()
                self._silent = False
            except JobsUnavailable as error:
                if not self._silent:
                    _log.warning("jobs wait: %s", error.message)
                self._silent = True
            except Exception:
                _log.exception("looking for jobs failed")
            # After an error no wake-up counts: many requests at a broken Redis are no reason to ask it more often.
            if self._silent:
                await asyncio.sleep(BEAT_S)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_S):
                        await self._wake.wait()

    async def _renew(self) -> None:
        leases = [lease for lease, _ in self._doing.values()]
        if leases:
            for id in await self._store.renew(leases):
                self.stop(id)

    async def _fill(self) -> None:
        while len(self._doing) < self._at_once and (lease := await self._store.take()) is not None:
            if lease.id in self._doing:
                # This runner's own lease ran out while Redis was silent: what goes on unheard is stopped.
                old = self._doing.pop(lease.id)[1]
                old.cancel()
            task = asyncio.create_task(self._do(lease))
            self._doing[lease.id] = lease, task
            # Not in the task itself: one that is cancelled before its first step never runs.
            task.add_done_callback(functools.partial(self._done, lease))

    def _done(self, lease: Lease, _task: asyncio.Task[None]) -> None:
        if self._doing.get(lease.id, (None,))[0] is lease:
            del self._doing[lease.id]
        self.wake()

    async def _do(self, lease: Lease) -> None:
        try:
            await self._end(lease, await self._outcome(lease))
        except JobsUnavailable as error:
            # The lease runs out, and the job is done again.
            _log.warning("job %s: %s", lease.id, error.message)
        except Exception:
            _log.exception("job %s failed", lease.id)

    async def _outcome(self, lease: Lease) -> Ending | Again:
        if lease.format != FORMAT:
            return unreadable(lease, OTHER_VERSION)
        try:
            return await self._work(lease)
        except JobsUnavailable:
            raise
        except Exception:
            # Work that is begun tells of its own mistakes: this was one in reading what is to be done.
            _log.exception("job %s cannot be read", lease.id)
            return unreadable(lease, MISTAKE)

    async def _end(self, lease: Lease, outcome: Ending | Again) -> None:
        """Write an outcome down, however long Redis takes: what was found is not thrown away."""
        while True:
            try:
                if isinstance(outcome, Again):
                    await self._store.release(lease, after_s=outcome.after_s, counted=outcome.counted)
                elif await self._store.finish(lease, outcome):
                    self._ended(outcome.status)
                    fields = {"job": lease.id, "status": outcome.status, "attempt": lease.attempt}
                    _log.info("job ended", extra={"fields": fields})
                return
            except JobsUnavailable:
                await asyncio.sleep(BEAT_S)
