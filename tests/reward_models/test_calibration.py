"""Area under the curve and calibration against their definitions and tables worked out by hand."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.calibration import (
    Bin,
    Scored,
    area_interval,
    area_under_curve,
    calibration_error,
    reliability,
    scored_steps,
)

SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
BOTH_KINDS = st.lists(st.tuples(SCORES, st.booleans()), min_size=2, max_size=30).filter(
    lambda scored: len({right for _, right in scored}) == 2
)


def test_a_right_step_after_the_first_wrong_one_is_not_judged() -> None:
    """Two right steps and the first wrong one; of a right solution, all steps."""
    assert scored_steps([0.9, 0.8, 0.2, 0.1], 2) == [(0.9, True), (0.8, True), (0.2, False)]
    assert scored_steps([0.9, 0.8], -1) == [(0.9, True), (0.8, True)]


def test_the_area_counts_ordered_pairs() -> None:
    """Of four (right, wrong) pairs three are ordered and one ties."""
    assert area_under_curve([(0.9, True), (0.5, True), (0.5, False), (0.1, False)]) == 3.5 / 4


@settings(deadline=None)
@given(BOTH_KINDS)
def test_the_area_is_the_probability_of_an_ordered_pair(scored: list[Scored]) -> None:
    """By its definition, pair by pair."""
    rights, wrongs = ([score for score, right in scored if right is kind] for kind in (True, False))
    pairs = [1.0 if right > wrong else 0.5 if right == wrong else 0.0 for right, wrong in product(rights, wrongs)]
    assert area_under_curve(scored) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("scored", [[], [(0.5, True)], [(0.1, False), (0.9, False)]])
def test_no_area_without_right_and_wrong_ones(scored: list[Scored]) -> None:
    """Nor is it 0.5 then."""
    with pytest.raises(ValueError, match="something right and something wrong"):
        area_under_curve(scored)


@settings(max_examples=5, deadline=None)
@given(st.lists(BOTH_KINDS, min_size=1, max_size=4))
def test_the_interval_of_the_area_lies_in_0_to_1(solutions: list[list[Scored]]) -> None:
    """And is the same each time."""
    interval = area_interval(solutions)
    assert interval is not None
    assert 0.0 <= interval[0] <= interval[1] <= 1.0
    assert area_interval(solutions) == interval


def test_the_interval_holds_the_area_and_narrows() -> None:
    """The same solutions ten times over are more evidence, and say the same."""
    few = [[(0.8, True), (0.3, False)], [(0.6, True), (0.7, False)], [(0.9, True)], [(0.4, True), (0.2, False)]] * 4
    spans = []
    for solutions in (few, few * 10):
        low, high = area_interval(solutions) or (1.0, 0.0)
        assert low < area_under_curve([pair for solution in solutions for pair in solution]) < high
        spans.append(high - low)
    assert spans[1] < spans[0] / 2


def test_whole_solutions_are_drawn() -> None:
    """With all their steps: each of these has one ordered pair, so that every sample of them has an area of 1."""
    assert area_interval([[(0.9, True), (0.8, False)]] * 3) == (1.0, 1.0)
    assert area_interval([[(0.9, True)]]) is None


def test_bins_are_open_below_and_closed_above() -> None:
    """A score of 0 belongs to the first, one of 1 to the last; empty ones are left out."""
    found = reliability([(0.0, False), (0.5, True), (0.5, False), (0.51, True), (1.0, True)], bins=2)
    assert found == [
        Bin(0.0, 0.5, count=3, mean=pytest.approx(1 / 3), right=1),
        Bin(0.5, 1.0, count=2, mean=0.755, right=2),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(SCORES, st.booleans()), max_size=40), st.integers(1, 20))
def test_every_score_is_in_one_bin(scored: list[Scored], bins: int) -> None:
    """Nothing is lost, and each bin's mean lies within it."""
    found = reliability(scored, bins)
    assert sum(held.count for held in found) == len(scored)
    assert sum(held.right for held in found) == sum(right for _, right in scored)
    assert all(held.low - 1e-12 <= held.mean <= held.high + 1e-12 for held in found)


def test_the_error_of_a_table_worked_out_by_hand() -> None:
    """Bins of 3 and 1: 3/4 of |2/3 - 0.2|, and 1/4 of |0 - 0.9|."""
    scored = [(0.2, True), (0.2, True), (0.2, False), (0.9, False)]
    assert calibration_error(reliability(scored)) == pytest.approx(0.75 * (2 / 3 - 0.2) + 0.25 * 0.9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=6))
def test_what_is_calibrated_has_no_error(groups: list[tuple[int, int]]) -> None:
    """Of n that score k/n, k are right."""
    scored = []
    for n, k in groups:
        right = min(k, n)
        scored += [(right / n, place < right) for place in range(n)]
    assert calibration_error(reliability(scored)) == pytest.approx(0.0, abs=1e-12)


def test_nothing_has_no_error() -> None:
    """Nor an error of 0."""
    with pytest.raises(ValueError, match="nothing was scored"):
        calibration_error([])
