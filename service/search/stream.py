"""One request to the policy, from when it waits for its slot until its cost is known."""

from asyncio import Task
from dataclasses import dataclass, field

from service.search.growth import Growth
from service.search.ledger import Reservation
from service.search.ports import Bill


@dataclass(slots=True)
class Stream:
    """One request to the policy: in flight, or waiting for its slot.

    `written` tokens of the solution were there before. `forgo`: what it does not use is not used by others.
    """

    growth: Growth
    reservation: Reservation
    written: int
    bill: Bill = field(default_factory=lambda: Bill(exact=True))  # nothing asked, nothing owed
    text: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    asked: bool = False
    forgo: bool = False
    task: Task[None] | None = None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What this request has written."""
        return tuple(self.growth.token_ids[self.written :])

    def disown(self) -> None:
        """Forget what a request has written that failed for good: its text may lag behind its ids."""
        del self.growth.token_ids[self.written :]
        self.text.clear()

    def keep_unread(self) -> None:
        """Take in what the policy wrote while it was being stopped: it is paid for, and a continuation can use it."""
        unread, self.bill.unread = self.bill.unread, None
        if unread is not None and self.finish_reason is None:
            self.text.append(unread.text)
            self.growth.token_ids.extend(unread.token_ids)
            self.finish_reason = unread.finish_reason
