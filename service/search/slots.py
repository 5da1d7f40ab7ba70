"""How many requests an engine has in flight, and whose they are: full when there is work, fair between searches."""

from asyncio import CancelledError, Future, get_running_loop
from collections import deque
from types import TracebackType


class Slots:
    """At most `capacity` requests in flight to one engine, for all searches of a worker together.

    A slot that falls free goes to the search that holds the fewest, and between equals to the one that was served
    longest ago (max-min fairness): a search for one sample does not wait for the 256 of another. Belongs to one event
    loop.
    """

    def __init__(self, capacity: int) -> None:
        self.free = capacity
        self._waiting: dict[Share, None] = {}  # in the order in which they are served between equals

    def share(self) -> "Share":
        """Return the claim of one more search."""
        return Share(self)

    async def _acquire(self, share: "Share") -> None:
        if self.free > 0:
            self.free -= 1
            share.held += 1
            return
        turn: Future[None] = get_running_loop().create_future()
        share.queue.append(turn)
        self._waiting.setdefault(share)
        try:
            await turn
        except CancelledError:
            if turn.done() and not turn.cancelled():  # dealt to us in the moment in which we were cancelled
                self._release(share)
            elif turn in share.queue:
                share.queue.remove(turn)
                if not share.queue:
                    del self._waiting[share]
            raise

    def _release(self, share: "Share") -> None:
        share.held -= 1
        self.free += 1
        while self.free > 0 and self._waiting:
            self._deal(min(self._waiting, key=lambda waiting: waiting.held))

    def _deal(self, share: "Share") -> None:
        turn = share.queue.popleft()
        del self._waiting[share]
        if share.queue:
            self._waiting[share] = None
        if not turn.done():
            turn.set_result(None)
            self.free -= 1
            share.held += 1


class Share:
    """One search's part of an engine's slots: `async with share:` holds one slot."""

    def __init__(self, slots: Slots) -> None:
        self.held = 0
        self.queue: deque[Future[None]] = deque()
        self._slots = slots

    async def __aenter__(self) -> None:
        await self._slots._acquire(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots._release(self)
