"""How often requests may be sent again."""

from hypothesis import given
from hypothesis import strategies as st

from service.engines.retry import BASE_S, MOST_SAVED, PER_SECOND, SHARE, RetryBudget, pause_s


@given(st.lists(st.sampled_from(["request", "repeat"]), max_size=500))
def test_repetitions_are_a_share_of_the_requests(happens: list[str]) -> None:
    """Beside what was saved before, however they come."""
    budget, paid = RetryBudget(now=lambda: 0.0), 0
    for what in happens:
        if what == "request":
            budget.earn()
        else:
            paid += budget.spend()
    assert paid <= MOST_SAVED + SHARE * happens.count("request") + 1e-6


def test_an_engine_that_is_hardly_used_is_tried_again() -> None:
    """Time alone pays for a repetition now and then, and saves up no more than a few."""
    clock = [0.0]
    budget = RetryBudget(now=lambda: clock[0])
    while budget.spend():
        pass
    clock[0] = 0.9 / PER_SECOND
    assert not budget.spend()
    clock[0] = 1.1 / PER_SECOND
    assert budget.spend()
    clock[0] = 1e6
    assert sum(budget.spend() for _ in range(100)) == MOST_SAVED


@given(st.integers(1, 6))
def test_the_pause_is_anything_up_to_a_time_that_doubles(tries: int) -> None:
    """What failed together comes back apart."""
    pauses = [pause_s(tries) for _ in range(50)]
    assert all(0 <= pause <= BASE_S * 2 ** (tries - 1) for pause in pauses)
    assert len(set(pauses)) > 40
