"""Word problems with their step-by-step solutions, drawn from a seeded generator."""

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from models.shapes import GIVEN, MISLEADING, PLAIN, QUESTION, REVERSED, SHAPES, TOGETHER

NAMES = ("Al", "Bo", "Cy", "Dee", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kim", "Lee", "Max", "Ned", "Ola", "Pam")
ITEMS = ("pens", "cups", "books", "coins", "cards", "shells")
LARGEST = 99
HELD_OUT_SHARE = 8  # one structure in so many is never trained on


@dataclass(frozen=True)
class Fact:
    """One statement: `name` has `value` of `item`; `parents` index the facts it is derived from."""

    name: str
    item: str
    shape: str  # a key of SHAPES, "given" or "together"
    parents: tuple[int, ...]
    amount: int
    value: int
    sentence: str

    @property
    def misleading(self) -> bool:
        return self.shape in MISLEADING


@dataclass(frozen=True)
class Problem:
    """Facts in order of derivation (distractors last), the order in which they are told, and the fact asked for."""

    facts: tuple[Fact, ...]
    path: tuple[int, ...]  # the derived facts that lead to the answer, in order
    order: tuple[int, ...]

    @property
    def asked(self) -> Fact:
        return self.facts[self.path[-1]]

    @property
    def steps(self) -> int:
        return len(self.path)

    def known_before(self, i: int) -> Fact:
        """The fact that the step which derives fact `i` of the path starts from: the one just derived."""
        place = self.path.index(i)
        return self.facts[self.path[place - 1] if place else 0]

    @property
    def text(self) -> str:
        told = [self.facts[i].sentence + "." for i in self.order]
        return " ".join([*told, QUESTION.format(item=self.asked.item, new=self.asked.name)])

    @property
    def structure(self) -> str:
        """Operation graph, sentence shapes and order of telling; names, items and amounts left out."""
        told = ((self.facts[i].shape, i, self.facts[i].parents) for i in self.order)
        return repr((self.path, tuple(told)))

    @property
    def held_out(self) -> bool:
        """Whether this structure belongs to the held-out set, decided by its hash alone."""
        return hashlib.sha256(self.structure.encode()).digest()[0] % HELD_OUT_SHARE == 0


def expression(fact: Fact, operands: Sequence[int], misread: bool) -> tuple[str, int | None]:
    """The arithmetic of one derived fact and its result; None where no whole number comes out."""
    if fact.shape == "together":
        return f"{operands[0]} + {operands[1]}", sum(operands)
    shape = SHAPES[fact.shape]
    sign, apply = (shape.misread or shape.relation) if misread else shape.relation
    return f"{operands[0]} {sign} {fact.amount}", apply(operands[0], fact.amount)


def write_step(known: Fact, fact: Fact, arithmetic: str, value: int) -> str:
    """One step of a solution: who is known already, the statement restated, and what follows from it."""
    return f"From {known.name}: {fact.sentence} so {fact.name} has {arithmetic} = {value} {fact.item}."


def answer_sentence(value: int) -> str:
    """What closes the last step."""
    return f" The answer is \\boxed{{{value}}}."


def solve(problem: Problem, misread: frozenset[int] = frozenset()) -> list[str]:
    """The steps of a solution whose author misreads the facts `misread`; the last step holds the boxed answer."""
    values = {i: fact.value for i, fact in enumerate(problem.facts)}
    steps = []
    for i in problem.path:
        fact = problem.facts[i]
        arithmetic, value = expression(fact, [values[p] for p in fact.parents], i in misread)
        if value is None:
            raise ValueError(f"misreading {sorted(misread)} leads to a fraction; draw another set of misreadings")
        values[i] = value
        steps.append(write_step(problem.known_before(i), fact, arithmetic, value))
    steps[-1] += answer_sentence(values[problem.path[-1]])
    return steps


def draw_misreadings(problem: Problem, rng: random.Random) -> frozenset[int]:
    """Which misleading facts a fallible author misreads: independent draws at each shape's rate."""
    drawn = []
    for i in problem.path:
        fact = problem.facts[i]
        if fact.misleading and rng.random() < SHAPES[fact.shape].misread_rate[fact.amount >= 10]:
            drawn.append(i)
    return frozenset(drawn)


class _Draft:
    """A problem under construction; `worlds` holds the values under every combination of misreadings."""

    def __init__(self, rng: random.Random, item: str, names: list[str]) -> None:
        self.rng, self.item, self.names = rng, item, names
        self.facts: list[Fact] = []
        self.worlds: list[list[int]] = [[]]

    def given(self, item: str | None = None, name: str | None = None) -> int:
        item, name = item or self.item, name or self.names.pop()
        k = self.rng.randint(3, 40)
        self.facts.append(Fact(name, item, "given", (), k, k, GIVEN.format(new=name, k=k, item=item)))
        for world in self.worlds:
            world.append(k)
        return len(self.facts) - 1

    def derived(self, shape: str, parents: tuple[int, ...]) -> bool:
        """Adds a fact if its value stays whole and in [2, LARGEST] whatever was misread before; says whether it did."""
        name, known = self.names[-1], [self.facts[p].name for p in parents]
        if shape == "together":
            amount, words = 0, {"a": known[0], "b": known[1]}
            sentence = TOGETHER.format(new=name, item=self.item, **words)
        else:
            amount = self.rng.randint(*SHAPES[shape].amounts)
            sentence = SHAPES[shape].text.format(new=name, known=known[0], k=amount, item=self.item)
        fact = Fact(name, self.item, shape, parents, amount, 0, sentence)
        worlds = []
        for world, misread in itertools.product(self.worlds, (False, True)):
            if misread and not fact.misleading:
                continue
            value = expression(fact, [world[p] for p in parents], misread)[1]
            if value is None or not 2 <= value <= LARGEST:
                return False
            worlds.append([*world, value])
        self.names.pop()
        self.worlds = worlds
        self.facts.append(Fact(name, self.item, shape, parents, amount, worlds[0][-1], sentence))
        return True


def draw_problem(rng: random.Random, steps: int) -> Problem:
    """A problem whose answer takes `steps` dependent steps (2 to 8), none, one or two of them easily misread."""
    while True:
        problem = _attempt(rng, steps)
        if problem is not None:
            return problem


def _attempt(rng: random.Random, steps: int) -> Problem | None:
    names = rng.sample(NAMES, len(NAMES))
    item, other_item = rng.sample(ITEMS, 2)
    draft = _Draft(rng, item, names)
    last = draft.given()
    traps = set(rng.sample(range(steps), min(steps, rng.choices((0, 1, 2), (0.42, 0.42, 0.16))[0])))
    path = []
    for step in range(steps):
        for _ in range(8):
            parents: tuple[int, ...] = (last,)
            if step in traps:
                shape = rng.choice(tuple(MISLEADING))
            elif rng.random() < 0.12:
                earlier = [i for i in range(len(draft.facts)) if i != last]
                second = rng.choice(earlier) if earlier and rng.random() < 0.5 else draft.given()
                shape, parents = "together", (last, second)
                if not draft.derived(shape, parents):
                    return None
                break
            else:
                shape = rng.choice(tuple(REVERSED if rng.random() < 0.08 else PLAIN))
            if draft.derived(shape, parents):
                break
        else:
            return None
        last = len(draft.facts) - 1
        path.append(last)
    on_path = len(draft.facts)
    for _ in range(rng.choices((0, 1, 2), (0.5, 0.38, 0.12))[0]):
        if rng.random() < 0.6:
            draft.given(other_item, rng.choice([fact.name for fact in draft.facts]) if rng.random() < 0.2 else None)
        else:
            draft.derived(rng.choice(tuple(REVERSED if rng.random() < 0.7 else SHAPES)), (rng.randrange(on_path),))
    return Problem(tuple(draft.facts), tuple(path), _telling_order(rng, on_path, len(draft.facts)))


def _telling_order(rng: random.Random, on_path: int, facts: int) -> tuple[int, ...]:
    """All facts shuffled: in one problem of four thoroughly, in the others by a few places; distractors anywhere."""
    reach = facts if rng.random() < 0.25 else 3.0
    places = [(i if i < on_path else rng.uniform(0, on_path)) + rng.uniform(0, reach) for i in range(facts)]
    if reach > 3.0:
        rng.shuffle(places)
    return tuple(sorted(range(facts), key=places.__getitem__))
