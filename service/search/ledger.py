"""Budgets kept by reservation: nothing is asked of an engine before its worst case has been set aside."""

from dataclasses import dataclass


class BudgetExhausted(Exception):
    """`limit` names the budget field that has nothing left for what was asked."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(slots=True)
class Account:
    """Tokens of one kind: `limit` (`None`: unlimited), `spent`, and `reserved` by what is in flight.

    Invariant: spent + reserved ≤ limit, at every moment.
    """

    limit: int | None
    spent: int = 0
    reserved: int = 0

    @property
    def free(self) -> int | None:
        """What can still be reserved; `None` if there is no limit."""
        return None if self.limit is None else self.limit - self.spent - self.reserved

    def fits(self, tokens: int) -> bool:
        """Whether `tokens` can be reserved now."""
        free = self.free
        return free is None or tokens <= free

    def reserve(self, tokens: int, name: str) -> "Reservation":
        """Set `tokens` aside; raises `BudgetExhausted(name)` when they are not there."""
        if not self.fits(tokens):
            raise BudgetExhausted(name)
        self.reserved += tokens
        return Reservation(self, tokens)


@dataclass(slots=True)
class Reservation:
    """Tokens set aside for one engine request. Spend as they come, release when it ends: the rest is free again."""

    account: Account
    left: int

    def spend(self, tokens: int) -> None:
        """Turn reserved tokens into spent ones."""
        self.left -= tokens
        self.account.reserved -= tokens
        self.account.spent += tokens

    def release(self) -> None:
        """Give back what was not spent; idempotent."""
        self.account.reserved -= self.left
        self.left = 0
