"""The budget of a search whose worker was lost."""

import pytest
from fake_workers import result
from hypothesis import given
from hypothesis import strategies as st

from service.errors import EngineUnavailable
from service.gateway.loss import after_a_loss, what_is_left
from service.search.ledger import Account
from service.search.ports import Bill
from service.search.progress import Committed, Tokens
from service.search.request import Budget, Message, SearchRequest
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="tiny", messages=(Message(role="user", content="1+1?"),), strategy=SampleOne())
TOKENS = st.integers(0, 200)


@given(limit=st.integers(1, 500), asked=st.lists(st.tuples(st.integers(1, 100), TOKENS, st.booleans()), max_size=20))
def test_both_searches_together_keep_the_budget(limit: int, asked: list[tuple[int, int, bool]]) -> None:
    """Whatever the first one had reserved and settled, what it can have cost and the second one's limit fit into it."""
    account = Account("policy_tokens", limit)
    costs = 0
    for tokens, cost, over in asked:
        if account.fits(tokens):
            reservation = account.reserve(tokens)
            costs += min(cost, tokens)
            if over:
                reservation.settle(min(cost, tokens), Bill(exact=True))
    committed = Committed(policy=Tokens(spent=account.spent, reserved=account.reserved))
    request = REQUEST.model_copy(update={"budget": Budget(policy_tokens=limit)})
    if account.free == 0:
        with pytest.raises(EngineUnavailable):
            what_is_left(request, committed)
        return
    left = what_is_left(request, committed).budget.policy_tokens
    assert left is not None
    assert costs + left <= limit


def test_what_has_no_limit_has_none_afterwards() -> None:
    """Only what the client limited is less for the second worker."""
    request = REQUEST.model_copy(update={"budget": Budget(reward_tokens=50)})
    used = Committed(policy=Tokens(spent=1000), reward=Tokens(spent=5, reserved=5))
    assert what_is_left(request, used).budget == Budget(reward_tokens=40)


def test_what_nobody_knows_is_said() -> None:
    """Of a search without limits no reports are made: its usage is marked, and nothing is invented."""
    found = result(REQUEST)
    again = after_a_loss(found, Committed())
    assert again.usage.policy.discarded == found.usage.policy.discarded
    assert again.usage.policy.estimated
    assert "may not be in the usage" in again.warnings[-1]


@given(spent=TOKENS, found_again=TOKENS)
def test_samples_found_again_are_counted_once(spent: int, found_again: int) -> None:
    """What the second worker went on from is in its usage already, and was paid by this very request."""
    found = result(REQUEST)
    policy = found.usage.policy.model_copy(update={"kept": found_again, "discarded": 0})
    before = found.usage.model_copy(
        update={"policy": policy, "reward": found.usage.reward.model_copy(update={"submitted": 0, "generated": 0})}
    )
    again = after_a_loss(
        found.model_copy(update={"continued": before}), Committed(policy=Tokens(spent=spent), reward=Tokens(spent=7))
    )
    assert again.continued is None
    assert again.usage.policy.discarded - found.usage.policy.discarded == max(0, spent - found_again)
    assert again.usage.reward.submitted - found.usage.reward.submitted == 7
