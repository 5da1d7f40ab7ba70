"""The exact label of every step of any solution, from the problem's own graph."""

import re
from dataclasses import dataclass

from models.problems import Problem, answer_sentence, expression, write_step
from models.tokenizer import SEPARATOR

_CLAIM = re.compile(r"([A-Z][a-z]*) has (?:[0-9][0-9 +*/-]* = )?([0-9]+) ([a-z]+)\.")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True)
class Verdict:
    """`prefix_right[i]`: everything up to step i is right. `right`: the boxed answer is the value asked for."""

    prefix_right: tuple[bool, ...]
    right: bool


def split_steps(solution: str) -> list[str]:
    """The non-empty steps of a solution, in order."""
    return [step.strip() for step in solution.split(SEPARATOR) if step.strip()]


def boxed_answer(solution: str) -> str | None:
    """What the last box of the solution holds, or None."""
    boxes = _BOXED.findall(solution)
    return boxes[-1].strip() if boxes else None


def answers(problem: Problem, text: str) -> bool:
    """Whether the text's last box holds the value asked for."""
    boxed = boxed_answer(text)
    return boxed is not None and re.fullmatch(r"0*" + str(problem.asked.value), boxed) is not None


def check(problem: Problem, solution: str) -> Verdict:
    """Labels any text: a step is right if the value it states is true for the person and item it names.

    A step that states nothing, or something about a person or item the problem does not have, is wrong; so is a last
    step whose box does not hold the value asked for, and everything after the first wrong step.
    """
    truth = {(fact.name, fact.item): fact.value for fact in problem.facts}
    steps = split_steps(solution)
    labels, right = [], True
    for i, step in enumerate(steps):
        claims = _CLAIM.findall(step)
        right = right and bool(claims) and truth.get((claims[-1][0], claims[-1][2])) == int(claims[-1][1][:9])
        if i == len(steps) - 1 or boxed_answer(step) is not None:
            right = right and answers(problem, step)
        labels.append(right)
    return Verdict(tuple(labels), answers(problem, solution))


def true_steps(problem: Problem) -> list[str]:
    """Every step that is right for this problem, the one that answers it with its box."""
    steps = []
    for i, fact in enumerate(problem.facts):
        if fact.parents:
            known = problem.known_before(i) if i in problem.path else problem.facts[fact.parents[0]]
            arithmetic, _ = expression(fact, [problem.facts[p].value for p in fact.parents], False)
            step = write_step(known, fact, arithmetic, fact.value)
            steps.append(step + answer_sentence(fact.value) if i == problem.path[-1] else step)
    return steps


def error_place(problem: Problem, step: str) -> int:
    """Where a wrong step goes wrong: the number of characters it shares with the true step nearest to it."""
    return max(shared_characters(step, true) for true in true_steps(problem))


def shared_characters(a: str, b: str) -> int:
    """The length of the longest common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
