"""The generator: right arithmetic, shuffled statements, and a held-out set decided by rule."""

import json
import random
import re

import pytest

from models.heldout import FILE, held_out_problems, record
from models.problems import Problem, draw_problem, solve
from models.shapes import MISLEADING, SHAPES
from models.traces import author_trace, corrupted_trace, draw_training_problem

EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+) ")


def drawn(count: int, seed: int = 5) -> list[Problem]:
    rng = random.Random(seed)
    return [draw_problem(rng, 2 + i % 7) for i in range(count)]


def test_the_same_seed_draws_the_same_problems() -> None:
    """Two runs with one seed agree, and another seed differs."""
    assert drawn(10) == drawn(10)
    assert drawn(10) != drawn(10, seed=6)


@pytest.mark.parametrize("steps", range(2, 9))
def test_a_problem_has_the_steps_asked_for(steps: int) -> None:
    """Its gold solution has exactly that many steps, each of which needs the one before."""
    problem = draw_problem(random.Random(steps), steps)
    assert len(solve(problem)) == problem.steps == steps
    for before, after in zip(problem.path, problem.path[1:], strict=False):
        assert before in problem.facts[after].parents


def test_every_equation_in_a_gold_solution_holds() -> None:
    """Left and right of each equals sign agree, and the last one is the boxed answer."""
    for problem in drawn(200):
        text = "\n\n".join(solve(problem))
        equations = EQUATION.findall(text)
        assert len(equations) == problem.steps
        for a, sign, b, c in equations:
            result = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[sign]
            assert result == int(c)
        assert text.endswith(f"The answer is \\boxed{{{equations[-1][3]}}}.")
        assert int(equations[-1][3]) == problem.asked.value


def test_misreading_changes_the_answer_or_a_value_on_the_way() -> None:
    """A misread sentence yields another solution with another value at that step."""
    problems = [p for p in drawn(200) if p.facts[p.path[0]].misleading]
    assert problems
    for problem in problems:
        wrong = solve(problem, frozenset({problem.path[0]}))
        assert EQUATION.findall(wrong[0]) != EQUATION.findall(solve(problem)[0])


def test_statements_are_shuffled() -> None:
    """In most problems the facts are not told in the order in which they are derived."""
    in_order = sum(list(p.order) == sorted(p.order) for p in drawn(200))
    assert in_order < 50


def test_all_shapes_occur_and_there_are_at_least_seven() -> None:
    """Plain shapes, misleading shapes and sums are all drawn."""
    seen = {fact.shape for problem in drawn(400) for fact in problem.facts}
    assert seen == {*SHAPES, "given", "together"}
    assert len(seen) >= 7


def test_some_problems_have_distractors() -> None:
    """Some statements are not needed for the answer."""

    def needed(problem: Problem) -> set[int]:
        return {*problem.path, *(p for i in problem.path for p in problem.facts[i].parents)}

    with_distractors = sum(len(needed(p)) < len(p.facts) for p in drawn(200))
    assert 60 < with_distractors < 200


def test_held_out_is_decided_by_structure_alone() -> None:
    """Other names, items and amounts with the same graph, shapes and order fall on the same side."""
    sides: dict[str, set[bool]] = {}
    rng = random.Random(3)
    for _ in range(4000):
        problem = draw_problem(rng, 2)
        sides.setdefault(problem.structure, set()).add(problem.held_out)
    assert any(len(problem_sides) == 1 for problem_sides in sides.values())
    assert all(len(problem_sides) == 1 for problem_sides in sides.values())


def test_training_never_draws_a_held_out_structure() -> None:
    """No operation graph x sentence shapes x order of the held-out file can appear in training."""
    rng = random.Random(11)
    trained = [draw_training_problem(rng, 8) for _ in range(1500)]
    assert not any(problem.held_out for problem in trained)
    held = held_out_problems()
    assert all(problem.held_out for problem in held)
    assert not {p.structure for p in trained} & {p.structure for p in held}


def test_the_held_out_file_is_the_one_the_rule_draws() -> None:
    """500 lines, evenly spread over two to eight steps, equal to what the generator draws."""
    lines = [json.loads(line) for line in FILE.read_text().splitlines()]
    assert lines == [record(i, problem) for i, problem in enumerate(held_out_problems())]
    counts = [sum(line["steps"] == steps for line in lines) for steps in range(2, 9)]
    assert len(lines) == 500
    assert max(counts) - min(counts) <= 1


def test_authors_misread_about_as_often_as_their_rates_say() -> None:
    """Over many single-trap problems the share of wrong solutions lies near the shapes' mean rate."""
    rng = random.Random(2)
    problems = [p for p in drawn(3000) if sum(p.facts[i].misleading for i in p.path) == 1]
    wrong = sum(author_trace(p, rng) != solve(p) for p in problems) / len(problems)
    rates = [rate for shape in MISLEADING.values() for rate in shape.misread_rate]
    assert min(rates) < wrong < max(rates)


def test_corrupted_traces_carry_labels_that_never_turn_right_again() -> None:
    """One label per step, and no right step after a wrong one."""
    rng = random.Random(4)
    mixed = 0
    for problem in drawn(300):
        steps, labels = corrupted_trace(problem, rng)
        assert len(steps) == len(labels)
        assert labels == sorted(labels, reverse=True)
        mixed += len(set(labels)) == 2
    assert mixed > 50
