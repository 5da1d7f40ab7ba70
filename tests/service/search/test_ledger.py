"""Reservations keep a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.ledger import Account, BudgetExhausted


def test_what_is_reserved_cannot_be_reserved_again() -> None:
    """Ten tokens: six reserved leave four."""
    account = Account(10)
    account.reserve(6, "policy_tokens")
    with pytest.raises(BudgetExhausted, match="policy_tokens"):
        account.reserve(5, "policy_tokens")


def test_release_gives_back_only_what_was_not_spent() -> None:
    """Six reserved, two spent, released: eight are free; releasing twice changes nothing."""
    account = Account(10)
    held = account.reserve(6, "policy_tokens")
    held.spend(2)
    held.release()
    held.release()
    assert (account.spent, account.reserved, account.free) == (2, 0, 8)


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=20))
def test_no_order_of_requests_passes_the_limit(limit: int, requests: list[tuple[int, int]]) -> None:
    """spent + reserved never exceeds the limit, whatever is asked for."""
    account = Account(limit)
    for asked, used in requests:
        try:
            held = account.reserve(asked, "policy_tokens")
        except BudgetExhausted:
            continue
        held.spend(min(asked, used))
        assert account.spent + account.reserved <= limit
        held.release()
    assert account.reserved == 0
    assert account.spent <= limit
