"""The plan past one machine: its law, and that the page says what the inputs come to."""

import pytest

from benchmarks.capacity import PAGE, bottleneck, erlang_wait, need, table, written
from benchmarks.capacity_inputs import PLANS, Load, Station

LOAD = Load(questions_per_day=864_000, peak_factor=2, target=0.5)  # ten a second, twenty at the peak


def test_the_page_holds_the_tables_of_its_inputs() -> None:
    """Nobody writes a number of the plan by hand: `python -m benchmarks.capacity --write` does."""
    page = PAGE.read_text()
    assert written(page) == page
    assert all(table(plan) in page for plan in PLANS.values())


def test_servers_keep_the_peak_at_the_target() -> None:
    """Twenty questions a second of 100 ms each are two servers' work: half busy, they are four."""
    found = need(Station("engine", work=50, unit="tokens", rate=500), LOAD)
    assert (found.servers, found.mean, found.peak) == (4, 0.25, 0.5)
    assert found.lost == pytest.approx(2 / 3)


def test_servers_that_stand_in_for_each_other_can_lose_one() -> None:
    """Two servers would be 48 % busy; one of them alone could not keep up."""
    assert need(Station("gateway", work=48, unit="ms", rate=1000), LOAD).servers == 3
    assert need(Station("Redis", work=20, unit="ms", rate=1000, fewest=1), LOAD).servers == 1


def test_waiting_is_erlangs() -> None:
    """One server that is half busy is waited for as long as it serves; of two that are half busy, a third of that."""
    assert erlang_wait(1, 0.5) == pytest.approx(1)
    assert erlang_wait(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_wait(2, 2.0) == float("inf")


def test_the_largest_demand_saturates_first() -> None:
    """Work alone does not tell: it is work over what one server does of it."""
    slow, large = Station("slow", 10, "ms", rate=100), Station("large", 1000, "tokens", rate=100_000)
    assert bottleneck([large, slow]) is slow
