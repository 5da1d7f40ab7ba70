"""What one request may wait for Redis in all."""

import asyncio
from contextlib import ExitStack
from contextvars import Context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import redis_allowance
from service.redis_allowance import Allowance, allowance, current_allowance, idle_s


class Clock:
    """A thread that is at work for `worked` of `now` seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked = 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.worked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clocks of a thread, to be put forward by hand."""
    made = Clock()
    monkeypatch.setattr(redis_allowance, "time", made)
    return made


def test_what_is_waited_for_is_spent(clock: Clock) -> None:
    """From when the command was asked, which is before it was late."""
    mine = Allowance(1)
    clock.now = 0.2
    with mine.late(0.1):
        assert mine.left == pytest.approx(0.9)
        clock.now = 0.5
        assert mine.left == pytest.approx(0.6)
    clock.now = 7
    assert mine.left == pytest.approx(0.6)


def test_waits_that_overlap_count_once(clock: Clock) -> None:
    """Ten commands that wait side by side keep their request no longer than one."""
    mine = Allowance(1)
    clock.now = 0.1
    with ExitStack() as waits:
        for _ in range(10):
            waits.enter_context(mine.late(0))
        clock.now = 0.4
    assert mine.left == pytest.approx(0.6)


def test_more_cannot_be_spent_than_there_is(clock: Clock) -> None:
    """What is left is never less than nothing."""
    mine = Allowance(1)
    with mine.late(0):
        clock.now = 5
    assert mine.left == 0


def test_a_process_that_is_busy_itself_does_not_wait(clock: Clock) -> None:
    """Only the time counts in which this thread had nothing to do."""
    mine = Allowance(1)
    with mine.late(idle_s()):
        clock.now, clock.worked = 0.9, 0.8
    assert mine.left == pytest.approx(0.9)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), min_size=1, max_size=12), st.integers(0, 5))
def test_the_whole_is_the_time_in_which_any_late_command_was_waited_for(
    asked: list[tuple[int, int]], prompt: int
) -> None:
    """However many commands begin and end whenever they like; the prompt ones are free."""
    clock, mine = Clock(), Allowance(1000)
    late = [(start, start + lasts) for start, lasts in asked if lasts > prompt]
    expected = len({second for start, end in late for second in range(start, end)})
    waits = {command: mine.late(command[0]) for command in dict.fromkeys(late)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_allowance, "time", clock)
        for now in range(201):
            clock.now = now
            for start, end in sorted(waits):
                if end == now:
                    waits[start, end].__exit__(None, None, None)
                elif start + prompt == now:
                    waits[start, end].__enter__()
        assert mine.left == 1000 - expected


async def test_all_tasks_of_a_request_share_one() -> None:
    """Those that are begun within, but for those in a context of their own."""
    with allowance(1) as mine:
        inner = asyncio.create_task(_current())
        apart = asyncio.create_task(_current(), context=Context())
        assert await asyncio.gather(inner, apart) == [mine, None]
        with allowance(2) as other:
            assert current_allowance() is other
        assert current_allowance() is mine
    assert current_allowance() is None


async def _current() -> Allowance | None:
    return current_allowance()
