"""Solutions to be scored, from a file of one JSON object a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reward_models.processbench import LabelledSolution, parse
from service.cli.problems import read_objects
from service.search.steps import StepSplitter
from service.settings import StepForm

GIVEN_FORM = '{"question", "solution"} or {"question", "steps"}'
LABELLED_FORM = '{"id", "problem", "steps", "final_answer_correct", "label"}'


@dataclass(frozen=True, slots=True)
class Item:
    """A question, and a solution of it in steps, at least one; `name` is for messages.

    `whole` is the solution as one text, for a reward model that reads it so.
    """

    name: str
    question: str
    steps: tuple[str, ...]
    whole: str


@dataclass(frozen=True, slots=True)
class Given:
    """An item, and the object of its line."""

    item: Item
    line: Mapping[str, object]


def read_given(path: Path, form: StepForm) -> list[Given]:
    """Return the solutions of `path`; those that are one text are cut into steps by `form`.

    What comes before the end of a thinking part is left out. Raises `BadFile` as `read_objects` does.
    """
    return read_objects(path, lambda value, number: Given(_item(value, number, form), value), "solutions", GIVEN_FORM)


def read_labelled(path: Path, limit: int | None) -> list[LabelledSolution]:
    """Return the first `limit` (default: all) solutions of a file in ProcessBench's form.

    Raises `BadFile` as `read_objects` does, and where two have the same id.
    """
    lines: dict[str, int] = {}

    def once(value: Mapping[str, object], number: int) -> LabelledSolution:
        solution = parse(value)
        if lines.setdefault(solution.id, number) != number:
            raise ValueError(f"the id {solution.id!r} is that of line {lines[solution.id]}")
        return solution

    return read_objects(path, once, "labelled solutions", LABELLED_FORM, limit)


def item_of(solution: LabelledSolution, form: StepForm) -> Item:
    """Return what is to be scored of a labelled solution."""
    return Item(solution.id, solution.problem, solution.steps, _joined(solution.steps, form))


def _item(value: Mapping[str, object], number: int, form: StepForm) -> Item:
    key = _one_of(value, "question", "problem")
    question = value[key]
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f'"{key}" is not a text with something in it')
    name = f"{value['id']} (line {number})" if "id" in value else f"line {number}"
    if _one_of(value, "solution", "steps") == "steps":
        steps = value["steps"]
        if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
            raise ValueError('"steps" is not a list of texts, at least one')
        return Item(name, question, tuple(steps), _joined(steps, form))
    solution = value["solution"]
    if not isinstance(solution, str):
        raise ValueError('"solution" is not a text')
    splitter = StepSplitter(form)
    cut = [*splitter.feed(solution), splitter.rest()]
    steps = [step.strip() for step in cut if step.strip()]
    if not steps:
        raise ValueError('"solution" holds no step')
    return Item(name, question, tuple(steps), splitter.solution.strip())


def _joined(steps: Sequence[str], form: StepForm) -> str:
    return next(iter(form.separators), "\n").join(step.strip() for step in steps)


def _one_of(value: Mapping[str, object], *keys: str) -> str:
    there = [key for key in keys if key in value]
    if len(there) != 1:
        named = " and ".join(f'"{key}"' for key in keys)
        raise ValueError(f"one of {named} is wanted, and {'both are' if there else 'none is'} there")
    return there[0]
