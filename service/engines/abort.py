"""Giving up requests by name, so that the engine still tells what they have cost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_hex

from service.errors import MullError

ABORT_GRACE_S = 2.0
"""How long an engine has to say what an aborted request has cost; a search at its deadline waits for less."""
AGAIN_S = 0.05


def new_request_id() -> str:
    """Return a name that no other request has."""
    return token_hex(12)


class Aborts:
    """The requests to one engine that are being given up.

    `post` asks the engine to abort requests, and returns whether it can: once it cannot, nothing is asked any more.
    """

    def __init__(self, post: Callable[[Sequence[str]], Awaitable[bool]]) -> None:
        self.possible = True
        self._post = post
        self._ending: dict[str, asyncio.Timeout] = {}
        self._due: list[str] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def end(self, request_id: str, read_on: Callable[[], Awaitable[object]]) -> None:
        """Abort a request, at once, and let `read_on` read what comes of it, for at most `ABORT_GRACE_S` seconds.

        Returns when that is over, without having asked where the engine cannot abort by name. Being cancelled ends it.
        """
        if not self.possible:
            return
        grace = asyncio.timeout(ABORT_GRACE_S)
        try:
            async with grace:
                self._ask(request_id, grace)
                await read_on()
        except MullError:
            pass  # it fails as it ends: then there is nothing to read
        except TimeoutError:
            if not grace.expired():
                raise
        finally:
            del self._ending[request_id]
            if not self._ending:
                self._rest()

    def _ask(self, request_id: str, grace: asyncio.Timeout) -> None:
        self._ending[request_id] = grace
        if not self._due:  # the task runs in the loop's next turn: all that this turn gives up go out together
            self._start(self._post_due())
        self._due.append(request_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        """An abort that came before its request was known to the engine did nothing."""
        self._timer = asyncio.get_running_loop().call_later(AGAIN_S, self._again)
        if not self._due:
            self._start(self._post_due())
        self._due = list(self._ending)

    async def _post_due(self) -> None:
        due, self._due = self._due, []
        if not await self._post(due):
            self.possible = False
            for grace in self._ending.values():
                grace.reschedule(asyncio.get_running_loop().time())

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    def _rest(self) -> None:
        """What was asked has happened: no answer is waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = []
        for task in self._posting:
            task.cancel()
