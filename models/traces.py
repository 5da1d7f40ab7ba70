"""Solutions to learn from: what fallible authors write, and corrupted traces with an exact label per step."""

import random

from models.problems import (
    LARGEST,
    Fact,
    Problem,
    answer_sentence,
    draw_misreadings,
    draw_problem,
    expression,
    solve,
    write_step,
)

MISREAD, SLIP, OPERAND, AMOUNT = "misread", "slip", "operand", "amount"


def draw_training_problem(rng: random.Random, longest: int) -> Problem:
    """A problem of 1 to `longest` steps, never one of a held-out structure."""
    while True:
        problem = draw_problem(rng, rng.randint(1, longest))
        if not problem.held_out:
            return problem


def draw_equations(rng: random.Random, count: int) -> str:
    """Bare arithmetic of the kinds that steps need, values up to LARGEST."""
    equations: list[str] = []
    while len(equations) < count:
        a, sign = rng.randint(2, LARGEST), rng.choice("+++---*/")
        b = {"*": rng.choice((2, 2, 3)), "/": 2}.get(
            sign, rng.randint(2, 15) if rng.random() < 0.75 else rng.randint(2, 60)
        )
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
        if 0 < value <= LARGEST and (sign != "/" or a % 2 == 0):
            equations.append(f"{a} {sign} {b} = {value}.")
    return " ".join(["", *equations])


def author_trace(problem: Problem, rng: random.Random) -> list[str]:
    """What a fallible author writes: misleading sentences are misread at their rates, the rest is done right."""
    return solve(problem, draw_misreadings(problem, rng))


def corrupted_trace(problem: Problem, rng: random.Random) -> tuple[list[str], list[bool]]:
    """A trace with mistakes of every kind, and for each step whether everything up to it is right.

    Mistakes: misread sentences, slips in arithmetic, a number taken from the wrong place, an answer given too early;
    also true statements that lead nowhere, which are no mistakes. Wrong values are carried on.
    """
    values = {i: fact.value for i, fact in enumerate(problem.facts)}
    steps: list[str] = []
    labels: list[bool] = []
    right = True
    trust = rng.choice((1.0, 0.9, 0.75))  # how careful this author is
    last = rng.choice(problem.path) if rng.random() < 0.12 else problem.path[-1]
    for i in problem.path:
        fact = problem.facts[i]
        kind = None if rng.random() < trust else rng.choice((MISREAD, SLIP, OPERAND, AMOUNT))
        if fact.misleading and rng.random() < 0.4:
            kind = MISREAD
        arithmetic, value = _work_out(problem, fact, values, kind, rng)
        values[i] = value
        right = right and value == fact.value
        steps.append(write_step(problem.known_before(i), fact, arithmetic, value))
        labels.append(right)
        if i == last:
            break
        if rng.random() < 0.06:
            steps += _aside(problem, i, values)
            labels += [right] * (len(steps) - len(labels))
    boxed = values[last] if rng.random() < 0.98 else rng.randint(2, LARGEST)
    steps[-1] += answer_sentence(boxed)
    labels[-1] = right and boxed == problem.asked.value
    return steps, labels


def _work_out(
    problem: Problem, fact: Fact, values: dict[int, int], kind: str | None, rng: random.Random
) -> tuple[str, int]:
    operands = [values[p] for p in fact.parents]
    if kind == OPERAND:
        operands[rng.randrange(len(operands))] = rng.choice(list(values.values()))
    if kind == AMOUNT:
        amounts = [other.amount for other in problem.facts if other.amount]
        fact = Fact(**{**fact.__dict__, "amount": rng.choice(amounts)})
    arithmetic, value = expression(fact, operands, kind == MISREAD)
    if value is None:
        value = max(1, operands[0] // 2)
    if kind == SLIP:
        value += rng.choice((-10, -2, -1, -1, 1, 1, 2, 10))
    return arithmetic, min(max(value, 0), 10 * LARGEST)


def _aside(problem: Problem, parent: int, values: dict[int, int]) -> list[str]:
    """The true step of a distractor that hangs on the fact just derived, if there is one."""
    for i, fact in enumerate(problem.facts):
        if fact.parents == (parent,) and i not in problem.path and values[parent] == problem.facts[parent].value:
            arithmetic, value = expression(fact, [values[parent]], False)
            return [write_step(problem.facts[parent], fact, arithmetic, value)] if value is not None else []
    return []
