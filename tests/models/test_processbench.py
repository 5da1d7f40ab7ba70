"""The file in ProcessBench's form: its labels, its form, and what it holds."""

import json
from collections import Counter
from typing import Any

import pytest

from models.checker import check
from models.heldout import held_out_problems
from models.problems import Problem, solve
from models.processbench import FILE, PER_HALF, first_wrong, item
from models.tokenizer import SEPARATOR

FORM = {"id": str, "generator": str, "problem": str, "steps": list, "final_answer_correct": bool, "label": int}


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text().splitlines()]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return held_out_problems()


def test_the_form_is_processbenchs(items: list[dict[str, Any]]) -> None:
    """The keys and types of its own files, with steps that are text and a label that is one of them or -1."""
    for line in items:
        assert {key: type(value) for key, value in line.items()} == FORM
        assert all(isinstance(step, str) and step.strip() for step in line["steps"])
        assert -1 <= line["label"] < len(line["steps"])


def test_every_label_is_what_the_checker_says(items: list[dict[str, Any]], problems: list[Problem]) -> None:
    """Of the problem that the id names; nothing but held-out ones."""
    for line in items:
        problem = problems[int(line["id"].removeprefix("heldout-"))]
        solution = SEPARATOR.join(line["steps"])
        assert problem.text == line["problem"]
        assert line["label"] == first_wrong(problem, solution)
        assert line["final_answer_correct"] == check(problem, solution).right


def test_half_of_the_solutions_are_wrong(items: list[dict[str, Any]]) -> None:
    """One of each problem, of every length."""
    assert Counter(line["label"] < 0 for line in items) == {True: PER_HALF, False: PER_HALF}
    assert len({line["problem"] for line in items}) == len(items)
    assert {len(line["steps"]) for line in items} >= set(range(2, 9))


def test_the_file_is_small_enough_for_git() -> None:
    """In bytes."""
    assert FILE.stat().st_size <= 400_000


def test_the_label_is_the_first_wrong_step(problems: list[Problem]) -> None:
    """Hand-made: the third step of a gold solution states another value, and the answer stays right."""
    problem = problems[2]
    steps = solve(problem)
    assert item(2, problem, SEPARATOR.join(steps))["label"] == -1
    fact = problem.facts[problem.path[2]]
    steps[2] = f"From Al: {fact.sentence} so {fact.name} has 1 + 1 = {fact.value + 1} {fact.item}."
    wrong = item(2, problem, SEPARATOR.join(steps))
    assert (wrong["label"], wrong["final_answer_correct"], wrong["steps"]) == (2, True, steps)
