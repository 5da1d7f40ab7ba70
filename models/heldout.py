"""The 500 held-out problems, evenly over 2 to 8 steps: `python -m models.heldout` writes heldout.jsonl."""

import json
import random
from pathlib import Path

from models.problems import Problem, draw_problem

FILE = Path(__file__).with_name("heldout.jsonl")
SEED, COUNT = 20260522, 500


def held_out_problems(count: int = COUNT, seed: int = SEED) -> list[Problem]:
    """Problems of 2, 3, …, 8, 2, 3, … steps, each of a held-out structure and no two alike in structure."""
    rng = random.Random(seed)
    problems: list[Problem] = []
    structures: set[str] = set()
    while len(problems) < count:
        problem = draw_problem(rng, 2 + len(problems) % 7)
        if problem.held_out and problem.structure not in structures:
            structures.add(problem.structure)
            problems.append(problem)
    return problems


def record(index: int, problem: Problem) -> dict[str, object]:
    """One line of the file; `misleading` counts the easily misread sentences on the way to the answer."""
    return {
        "id": f"heldout-{index:03d}",
        "problem": problem.text,
        "answer": str(problem.asked.value),
        "steps": problem.steps,
        "misleading": sum(problem.facts[i].misleading for i in problem.path),
    }


if __name__ == "__main__":
    lines = [json.dumps(record(i, problem)) for i, problem in enumerate(held_out_problems())]
    FILE.write_text("\n".join(lines) + "\n")
