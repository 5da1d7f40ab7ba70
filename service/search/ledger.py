"""Budgets kept by reservation: nothing is asked of an engine before its worst case has been set aside."""

from collections.abc import Callable
from dataclasses import dataclass, field

from service.search.ports import Bill


class BudgetExhausted(Exception):
    """`limit` names the budget field that has nothing left for what was asked."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(slots=True)
class Account:
    """Tokens of one kind: `limit` (`None`: unlimited), `spent`, and `reserved` by what is in flight.

    Invariant: spent + reserved ≤ limit, at every moment. `changed` is called when something is reserved or settled.
    """

    name: str
    limit: int | None
    spent: int = 0
    reserved: int = 0
    changed: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def free(self) -> int | None:
        """What can still be reserved; `None` if there is no limit, never below 0."""
        return None if self.limit is None else max(0, self.limit - self.spent - self.reserved)

    def fits(self, tokens: int) -> bool:
        """Whether `tokens` can be reserved now."""
        free = self.free
        return free is None or tokens <= free

    def reserve(self, tokens: int) -> "Reservation":
        """Set `tokens` aside; raises `BudgetExhausted(name)` when they are not there."""
        if not self.fits(tokens):
            raise BudgetExhausted(self.name)
        self.reserved += tokens
        if self.changed is not None:
            self.changed()
        return Reservation(self, tokens)


@dataclass(slots=True)
class Reservation:
    """Tokens set aside for one engine request, until it is known what it has cost."""

    account: Account
    tokens: int

    def settle(self, cost: int, bill: Bill, *, forgo: bool = False) -> None:
        """End the reservation, once: `cost` is spent, the rest is free again.

        A request whose bill is not exact may have cost all that was reserved, and is charged so. `forgo` keeps the rest
        set aside for good: it is saved, not spent on something else.
        """
        spent = cost if bill.exact else max(cost, self.tokens)
        self.account.reserved -= self.tokens
        self.account.spent += spent
        if forgo:
            self.account.reserved += max(0, self.tokens - spent)
        if self.account.changed is not None:
            self.account.changed()
