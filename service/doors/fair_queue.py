"""Whose search is next, when more is asked for than may run at once: a pure state machine over tokens.

Callers are served by start-time fair queueing (Goyal, Vin and Cheng 1996): each has a clock that runs by what it was
given, and the one whose clock is furthest behind is next. A caller that sends much waits behind itself only.

No caller takes everything: what one may hold depends on what is left (dynamic thresholds, Choudhury and Hahne 1998).
One that is alone stops at three quarters, so that whoever comes next finds room at once. The queue is shared out in the
same way. Where nobody is known by name, it is first come, first served.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

SHARE = 3
"""A caller may hold at most so many times what is left for everybody (the papers' alpha)."""

Verdict = Literal["admitted", "waiting", "refused"]


@dataclass(slots=True)
class _Caller:
    """What one caller has in flight and in the queue, in tokens; `clock` is what it has been given, in fair time.

    `shares` is false for those without a name: nobody knows how many they are.
    """

    clock: int
    shares: bool
    holds: int = 0
    waits: int = 0
    line: deque[int] = field(default_factory=deque)


class FairQueue:
    """Tickets, each of a caller and with a price in tokens (at least 1), in flight or waiting.

    At most `bound` tokens are in flight, or one ticket that alone is more; the same holds for `room` and those waiting.
    """

    def __init__(self, bound: int, room: int) -> None:
        self._bound = bound
        self._room = room
        self._callers: dict[str | None, _Caller] = {}
        self._tickets: dict[int, tuple[_Caller, int]] = {}
        self._running: set[int] = set()
        self._now = 0
        self.in_flight = 0
        self.waiting = 0

    def arrive(self, ticket: int, caller: str | None, price: int) -> Verdict:
        """Take a new ticket in. One that is refused is not known afterwards; one that waits is admitted by `leave`."""
        mine = self._callers.setdefault(caller, _Caller(self._now, caller is not None))
        if not mine.line:
            # Time in which nothing was asked for is not saved up.
            mine.clock = max(mine.clock, self._now)
        self._tickets[ticket] = (mine, price)
        mine.line.append(ticket)
        mine.waits += price
        self.waiting += price
        if ticket in self._admit():
            return "admitted"
        if self._has_room(mine, price):
            return "waiting"
        self._drop(ticket)
        return "refused"

    def leave(self, ticket: int) -> list[int]:
        """Forget a ticket, whether it was in flight or waiting; return those that are admitted now, in order."""
        self._drop(ticket)
        return self._admit()

    def _drop(self, ticket: int) -> None:
        mine, price = self._tickets.pop(ticket)
        if ticket in self._running:
            self._running.remove(ticket)
            mine.holds -= price
            self.in_flight -= price
        else:
            mine.line.remove(ticket)
            mine.waits -= price
            self.waiting -= price
        if not self._tickets:
            self._callers.clear()
            self._now = 0

    def _admit(self) -> list[int]:
        admitted = []
        while (caller := self._next()) is not None:
            ticket = caller.line[0]
            price = self._tickets[ticket][1]
            if self.in_flight and self.in_flight + price > self._bound:
                # Nobody passes the one whose turn it is, or what is large would wait for ever.
                break
            caller.line.popleft()
            caller.waits -= price
            caller.holds += price
            self.waiting -= price
            self.in_flight += price
            self._now = max(self._now, caller.clock)
            caller.clock += price
            self._running.add(ticket)
            admitted.append(ticket)
        return admitted

    def _next(self) -> _Caller | None:
        """Return the caller whose clock is furthest behind, of those that do not hold their share already."""
        ready = [c for c in self._callers.values() if c.line and self._has_share_left(c)]
        return min(ready, key=lambda caller: caller.clock, default=None)

    def _has_share_left(self, caller: _Caller) -> bool:
        price = self._tickets[caller.line[0]][1]
        if not caller.shares or not caller.holds:
            return True
        if not _leaves_room(caller.holds + price, self._bound):
            return False
        # Beside others the price is not held against it, or callers with small requests would get more.
        return caller.holds <= SHARE * (self._bound - self.in_flight)

    def _has_room(self, caller: _Caller, price: int) -> bool:
        """Tell whether the ticket that has come last may wait."""
        left = self._room - self.waiting
        before = caller.waits - price
        if not caller.shares or not before:
            return left >= 0 or (self._room > 0 and self.waiting == price)
        return left >= 0 and caller.waits <= SHARE * (left + price) and _leaves_room(caller.waits, self._room)


def _leaves_room(mine: int, bound: int) -> bool:
    """Tell whether one who has `mine` leaves something for others: one alone may have SHARE of SHARE + 1 parts."""
    return (SHARE + 1) * mine <= SHARE * bound
