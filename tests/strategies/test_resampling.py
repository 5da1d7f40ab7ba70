"""Resampling against numbers worked out by hand, and what holds for any weights."""

from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.resampling import effective_sample_size, systematic

WEIGHTS = st.lists(st.just(0.0) | st.floats(0, 1), min_size=1, max_size=12).filter(lambda weights: max(weights) > 0)
UNIFORM = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("weights", "expected"), [([1.0], 1), ([1.0, 1.0, 1.0], 3), ([1.0, 0.0, 0.0], 1), ([1.0, 0.5, 0.25], 7 / 3)]
)
def test_effective_sample_size(weights: list[float], expected: float) -> None:
    """(1 + 1/2 + 1/4)² / (1 + 1/4 + 1/16) = 49/16 · 16/21."""
    assert effective_sample_size(weights) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("uniform", "counts"),
    [(0.0, [2, 1, 0, 1]), (0.24, [2, 1, 0, 1]), (0.25, [2, 0, 1, 1]), (0.5, [2, 0, 0, 2]), (0.99, [1, 1, 0, 2])],
)
def test_systematic_counts(uniform: float, counts: list[int]) -> None:
    """The expected counts 1.75, 0.5, 0.25 and 1.5 end at 1.75, 2.25, 2.5 and 4: the points u + k fall between."""
    assert systematic([7.0, 2.0, 1.0, 6.0], uniform) == counts


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
@pytest.mark.parametrize("particles", [1, 7, 49, 1000])
def test_equal_weights_keep_every_particle_once(particles: int, uniform: float) -> None:
    """No rounding moves a point over an edge."""
    assert systematic([1 / 3] * particles, uniform) == [1] * particles


@given(WEIGHTS, UNIFORM)
@settings(deadline=None)
def test_as_many_as_before_and_none_without_weight(weights: list[float], uniform: float) -> None:
    """The counts add up to the number of particles."""
    counts = systematic(weights, uniform)
    assert sum(counts) == len(weights)
    assert all(count == 0 for count, weight in zip(counts, weights, strict=True) if weight == 0)


@given(WEIGHTS, UNIFORM)
@settings(deadline=None)
def test_no_count_is_off_by_one(weights: list[float], uniform: float) -> None:
    """Each is the expected count, rounded down or up."""
    for count, weight in zip(systematic(weights, uniform), weights, strict=True):
        assert abs(count - len(weights) * weight / sum(weights)) < 1 + 1e-9


@given(WEIGHTS)
@settings(max_examples=40, deadline=None)
def test_counts_are_right_in_the_mean(weights: list[float]) -> None:
    """Over evenly spaced random numbers a count's mean is the expected one, but for one point at either edge."""
    many = 32
    all_counts = [systematic(weights, (point + 0.5) / many) for point in range(many)]
    for counts, weight in zip(zip(*all_counts, strict=True), weights, strict=True):
        assert fmean(counts) == pytest.approx(len(weights) * weight / sum(weights), abs=1.01 / many)


@given(WEIGHTS)
@settings(deadline=None)
def test_the_effective_size_lies_between_one_and_all(weights: list[float]) -> None:
    """Relative to the largest weight, as the filter has them."""
    size = effective_sample_size([weight / max(weights) for weight in weights])
    assert 1 - 1e-9 <= size <= len(weights) + 1e-9
