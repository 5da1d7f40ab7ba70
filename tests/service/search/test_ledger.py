"""Reservations keep a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.ledger import Account, BudgetExhausted
from service.search.ports import Bill


def test_what_is_reserved_cannot_be_reserved_again() -> None:
    """Ten tokens: six reserved leave four."""
    account = Account("policy_tokens", 10)
    account.reserve(6)
    with pytest.raises(BudgetExhausted, match="policy_tokens"):
        account.reserve(5)


def test_what_was_not_spent_is_free_again() -> None:
    """Six reserved, two spent: eight are free."""
    account = Account("policy_tokens", 10)
    account.reserve(6).settle(2, Bill(exact=True))
    assert (account.spent, account.reserved, account.free) == (2, 0, 8)


def test_what_is_forgone_is_not_free_again() -> None:
    """Six reserved, two spent, four saved: four are free."""
    account = Account("policy_tokens", 10)
    account.reserve(6).settle(2, Bill(exact=True), forgo=True)
    assert (account.spent, account.free) == (2, 4)


def test_a_request_that_nobody_can_bill_is_charged_what_it_may_have_cost() -> None:
    """Six reserved, two seen, the engine gone: six are spent."""
    account = Account("policy_tokens", 10)
    account.reserve(6).settle(2, Bill(exact=False))
    assert (account.spent, account.free) == (6, 4)


def test_what_an_earlier_run_has_spent_may_exceed_a_smaller_limit() -> None:
    """Nothing is free then, and nothing negative either."""
    assert Account("policy_tokens", 10, spent=12).free == 0


@given(
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans(), st.booleans()), max_size=20),
)
def test_no_order_of_requests_passes_the_limit(limit: int, requests: list[tuple[int, int, bool, bool]]) -> None:
    """spent + reserved never exceeds the limit, whatever is asked for, used, known and forgone."""
    account = Account("policy_tokens", limit)
    for asked, used, exact, forgo in requests:
        try:
            held = account.reserve(asked)
        except BudgetExhausted:
            continue
        held.settle(min(asked, used), Bill(exact=exact), forgo=forgo)
        assert 0 <= account.spent + account.reserved <= limit
