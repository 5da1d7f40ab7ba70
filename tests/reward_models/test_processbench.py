"""ProcessBench's protocol, against tables worked out by hand and thresholds tried one by one."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.processbench import (
    Found,
    Judged,
    LabelledSolution,
    best_threshold,
    first_below,
    halves,
    named_at,
    parse,
)

LINE = {
    "id": "gsm8k-7",
    "generator": "a model",
    "problem": "1 + 1?",
    "steps": ["1 + 1 = 3", "So 3."],
    "final_answer_correct": False,
    "label": 0,
}


def test_an_item_in_processbenchs_form_is_read() -> None:
    """Whatever else is there."""
    assert parse(LINE | {"level": 3}) == LabelledSolution("gsm8k-7", "1 + 1?", ("1 + 1 = 3", "So 3."), False, 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": 7}, '"id" is not a text'),
        ({"problem": " "}, '"problem" is not a text with something in it'),
        ({"steps": []}, '"steps" is not a list of texts, at least one'),
        ({"steps": "one"}, '"steps" is not'),
        ({"steps": ["a", 1]}, '"steps" is not'),
        ({"final_answer_correct": 1}, '"final_answer_correct" is neither true nor false'),
        ({"label": 2}, '"label" is not the place of one of 2 steps'),
        ({"label": -2}, '"label" is not'),
        ({"label": True}, '"label" is not'),
        ({"label": "0"}, '"label" is not'),
    ],
)
def test_another_form_is_refused(change: dict[str, object], complaint: str) -> None:
    """By the name of the key."""
    with pytest.raises(ValueError, match=complaint):
        parse(LINE | change)


@pytest.mark.parametrize("key", ["id", "problem", "steps", "final_answer_correct", "label"])
def test_a_missing_key_is_named(key: str) -> None:
    """A label that is not there is not -1."""
    with pytest.raises(ValueError, match=f'"{key}" is missing'):
        parse({name: value for name, value in LINE.items() if name != key})


@pytest.mark.parametrize(
    ("scores", "named"), [([0.9, 0.4, 0.1], 1), ([0.5, 0.5], -1), ([0.9], -1), ([0.1, 0.9], 0), ([], -1)]
)
def test_the_first_step_below_the_threshold_is_named(scores: list[float], named: int) -> None:
    """Below 0.5: what is just there passes."""
    assert first_below(scores, 0.5) == named


def test_f1_is_the_harmonic_mean_of_both_accuracies() -> None:
    """Of four wrong solutions one exactly, of two right ones both: 2 * 0.25 * 1 / 1.25."""
    found = Found.of([1, 2, -1, None, -1, -1], [1, 1, 1, 0, -1, -1])
    assert found == Found(wrong=(True, False, False, False), right=(True, True))
    assert found.f1 == pytest.approx(0.4)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=9).map(tuple),
    st.lists(st.booleans(), min_size=1, max_size=9).map(tuple),
)
def test_the_interval_of_f1_holds_it_and_is_no_point(wrong: tuple[bool, ...], right: tuple[bool, ...]) -> None:
    """Also where all or none were hit; and it is the same each time."""
    found = Found(wrong, right)
    low, high = found.f1_interval() or (1.0, 0.0)
    assert found.f1 is not None
    assert 0.0 <= low <= found.f1 <= high <= 1.0
    assert high > low
    assert found.f1_interval() == (low, high)


def test_more_solutions_narrow_the_interval_of_f1() -> None:
    """A hundred times as many: a tenth as wide, about."""
    spans = []
    for times in (1, 100):
        low, high = Found((True, False) * 4 * times, (True, True, False) * 3 * times).f1_interval() or (0.0, 9.0)
        spans.append(high - low)
    assert spans[1] < spans[0] / 5


def test_f1_of_no_hits_is_0_and_of_a_missing_kind_none() -> None:
    """To find nothing is a result; to have nothing to find is none."""
    assert Found.of([0, 0], [1, -1]).f1 == 0.0
    assert Found.of([0], [0]).f1 is None
    assert Found.of([-1], [-1]).f1_interval() is None


SCORE = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]) | st.floats(0, 1)


@st.composite
def judged(draw: st.DrawFn) -> list[Judged]:
    """Some solutions with scores and labels, a wrong and a right one among them."""
    scores = draw(st.lists(st.lists(SCORE, min_size=1, max_size=5), min_size=2, max_size=12))
    labels = [0, -1, *(draw(st.integers(-1, len(steps) - 1)) for steps in scores[2:])]
    return list(zip(scores, labels, strict=True))


@settings(deadline=None)
@given(judged())
def test_no_midpoint_is_better_than_the_chosen_threshold(solutions: list[Judged]) -> None:
    """Each is tried by itself; the chosen one is the nearest to 0.5 of those that are as good."""
    scores = sorted({score for steps, _ in solutions for score in steps})
    tried = [(low + high) / 2 for low, high in pairwise(scores)] or scores
    chosen = best_threshold(solutions)
    f1 = {threshold: named_at(solutions, threshold).f1 or 0.0 for threshold in tried}
    assert chosen in f1
    assert f1[chosen] == max(f1.values())
    assert all(abs(t - 0.5) >= abs(chosen - 0.5) for t in tried if f1[t] == f1[chosen])


def test_a_threshold_worked_out_by_hand() -> None:
    """The wrong step scores 0.3 and no right one less than 0.4: 0.35 finds all."""
    solutions: list[Judged] = [([0.9, 0.3, 0.1], 1), ([0.4, 0.8], -1), ([0.95, 0.7], -1)]
    assert best_threshold(solutions) == pytest.approx(0.35)
    assert named_at(solutions, 0.35).f1 == 1.0


@pytest.mark.parametrize("label", [-1, 0])
def test_a_threshold_takes_wrong_and_right_solutions(label: int) -> None:
    """Else every threshold is as good."""
    with pytest.raises(ValueError, match="wrong and right solutions"):
        best_threshold([([0.5], label)] * 3)


def solution(name: str, label: int) -> LabelledSolution:
    """A solution of two steps."""
    return LabelledSolution(name, "?", ("a", "b"), label == -1, label)


@settings(deadline=None)
@given(st.lists(st.integers(-1, 1), max_size=30), st.randoms(use_true_random=False))
def test_halves_do_not_depend_on_the_order_of_the_file(labels: list[int], random: Random) -> None:
    """Nothing is in both, nothing is lost, and each has half of the wrong and half of the right ones."""
    solutions = [solution(f"s{place}", label) for place, label in enumerate(labels)]
    chosen, reported = halves(solutions)
    assert sorted(chosen + reported) == list(range(len(solutions)))
    for right in (True, False):
        counts = [sum((solutions[place].label == -1) is right for place in half) for half in (chosen, reported)]
        assert 0 <= counts[0] - counts[1] <= 1
    shuffled = solutions[:]
    random.shuffle(shuffled)
    again = halves(shuffled)
    for half, other in zip((chosen, reported), again, strict=True):
        assert {solutions[place].id for place in half} == {shuffled[place].id for place in other}
