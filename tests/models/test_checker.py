"""The checker: exact labels for right, wrong and garbled solutions."""

import random

import pytest

from models.checker import boxed_answer, check, error_place
from models.problems import Problem, draw_problem, solve
from models.shapes import MISLEADING
from models.traces import corrupted_trace


@pytest.fixture
def problem() -> Problem:
    """A problem of four steps whose first sentence on the way is easily misread."""
    rng = random.Random(1)
    while True:
        problem = draw_problem(rng, 4)
        if problem.facts[problem.path[0]].shape in MISLEADING:
            return problem


def test_a_gold_solution_is_right_at_every_step(problem: Problem) -> None:
    """All labels are true and the answer is right."""
    verdict = check(problem, "\n\n".join(solve(problem)))
    assert verdict.prefix_right == (True,) * 4
    assert verdict.right


def test_a_misread_first_step_makes_everything_after_it_wrong(problem: Problem) -> None:
    """The label at the misread step is false and stays so."""
    verdict = check(problem, "\n\n".join(solve(problem, frozenset({problem.path[0]}))))
    assert verdict.prefix_right == (False,) * 4


def test_a_wrong_sum_is_wrong_from_its_step_on(problem: Problem) -> None:
    """Hand-written: the third step states another value, the rest is as in the gold solution."""
    steps = solve(problem)
    fact = problem.facts[problem.path[2]]
    steps[2] = f"From Al: {fact.sentence} so {fact.name} has 1 + 1 = {fact.value + 1} {fact.item}."
    verdict = check(problem, "\n\n".join(steps))
    assert verdict.prefix_right == (True, True, False, False)
    assert verdict.right  # the box still holds the value asked for


def test_a_right_value_for_the_wrong_person_is_wrong(problem: Problem) -> None:
    """A step is judged by the person and item it names."""
    fact = problem.facts[problem.path[0]]
    stranger = "Zoe"
    assert not check(problem, f"So {stranger} has {fact.value} {fact.item}.").prefix_right[0]
    assert not check(problem, f"So {fact.name} has {fact.value} spoons.").prefix_right[0]
    assert check(problem, f"So {fact.name} has {fact.value} {fact.item}.\n\nMore.").prefix_right == (True, False)


def test_stopping_early_with_a_true_value_is_wrong_at_the_last_step(problem: Problem) -> None:
    """The box holds a value that is true, but not of the person asked about."""
    steps = solve(problem)[:2]
    value = problem.facts[problem.path[1]].value
    assert value != problem.asked.value
    steps[-1] += f" The answer is \\boxed{{{value}}}."
    verdict = check(problem, "\n\n".join(steps))
    assert verdict.prefix_right == (True, False)
    assert not verdict.right


def test_a_solution_without_a_box_is_wrong(problem: Problem) -> None:
    """Cut off before the answer: the last step cannot be right."""
    steps = solve(problem)
    steps[-1] = steps[-1].split(" The answer")[0]
    verdict = check(problem, "\n\n".join(steps))
    assert verdict.prefix_right == (True, True, True, False)
    assert not verdict.right


@pytest.mark.parametrize(
    "text",
    ["", "\n\n\n\n", "\\boxed{", "\\boxed{}", "has has = 9", "Al has = pens.", "€" * 99, "9" * 5000, "\\boxed{1.5}"],
)
def test_garbage_is_wrong_and_does_not_raise(problem: Problem, text: str) -> None:
    """Any text gets a verdict."""
    verdict = check(problem, text)
    assert not verdict.right
    assert not any(verdict.prefix_right)


def test_the_checker_agrees_with_the_labels_of_corrupted_traces() -> None:
    """What the reward model learns from corrupted traces is what the checker says of them."""
    rng = random.Random(8)
    for i in range(400):
        problem = draw_problem(rng, 2 + i % 7)
        steps, labels = corrupted_trace(problem, rng)
        assert check(problem, "\n\n".join(steps)).prefix_right == tuple(labels)


def test_the_last_box_counts() -> None:
    """Of several boxes the last is the answer, none gives None."""
    assert boxed_answer("\\boxed{1} then \\boxed{ 2 }") == "2"
    assert boxed_answer("no box") is None


def test_the_place_of_an_error_is_where_the_step_leaves_the_true_one(problem: Problem) -> None:
    """A misread first step departs from the right one at the sign; a true step is shared to its end."""
    right, wrong = solve(problem)[0], solve(problem, frozenset({problem.path[0]}))[0]
    place = error_place(problem, wrong)
    assert wrong[:place] == right[:place]
    assert wrong[place] in "+-*/"
    assert error_place(problem, right) == len(right)
    assert error_place(problem, "€") == 0
