"""The arithmetic behind the model card's table."""

import pytest

from models.checker import Verdict
from models.measure import canonical, interval, up_to_first_error, vote


def test_a_vote_adds_weights_per_answer_and_skips_missing_ones() -> None:
    """Two light votes beat one heavier; no answer, no vote."""
    assert vote(["3", "4", "4", None], [0.9, 0.5, 0.5, 9.0]) == "4"
    assert vote([None], [1.0]) is None


def test_answers_are_compared_as_numbers() -> None:
    """Leading zeros do not matter, and what is no whole number is no answer."""
    assert canonical("07") == "7"
    assert [canonical(text) for text in (None, "", "x", "1.5", "9" * 50)] == [None] * 5


def test_only_steps_up_to_the_first_error_count() -> None:
    """Two right steps and the first wrong one, not the ones after it."""
    verdict = Verdict((True, True, False, False), False)
    assert up_to_first_error(verdict, [0.9, 0.8, 0.2, 0.1]) == [(0.9, True), (0.8, True), (0.2, False)]


def test_the_interval_of_equal_values_is_a_point() -> None:
    """Mean and half-width."""
    assert interval([1.0, 1.0]) == (1.0, 0.0)
    assert interval([0.0, 1.0] * 50)[1] == pytest.approx(0.0985, abs=1e-3)
