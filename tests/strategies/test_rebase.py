"""REBASE: how the budget is split, and trees checked by hand."""

import random
from collections import Counter
from collections.abc import Sequence
from inspect import cleandoc
from math import log

import pytest
from golden import rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tree_world import World, Written, play, random_world, table

from strategies.protocol import Path
from strategies.rebase import Rebase, widths
from strategies.spec import ScoreSpec
from strategies.tree import TreeSearch

DOUBLING = 0.1 / log(2)
"""The balance temperature at which a reward that is higher by 0.1 weighs twice as much."""


def rebase(samples: int, balance_temperature: float = 0.1) -> TreeSearch:
    """A search that has not begun."""
    search = Rebase(samples=samples, balance_temperature=balance_temperature).build(ScoreSpec())
    assert isinstance(search, TreeSearch)
    return search


# --- the split ---


@pytest.mark.parametrize(
    ("rewards", "samples", "expected"),
    [
        ([], [], []),
        ([0.3], [5], [5]),
        ([0.8, 0.7, 0.6], [1, 1, 1], [2, 1, 0]),
        ([0.8, 0.7], [1, 5], [2, 4]),
        ([0.7, 0.7], [2, 1], [2, 1]),
        ([0.5, 0.8, 0.5, 0.5], [1, 1, 1, 1], [1, 3, 0, 0]),
        ([0.0, 0.3, 5e-324, 0.0], [1, 1, 1, 1], [0, 3, 1, 0]),
    ],
)
def test_split_by_hand(rewards: list[float], samples: list[int], expected: list[int]) -> None:
    """Quotas: 12/7, 6/7, 3/7; 12/7, 30/7; 4/11, 32/11, 4/11, 4/11, where the earliest of equals has what is left.

    In the last line the third reward is higher than the first by less than the exponentials show.
    """
    assert widths(rewards, samples, DOUBLING) == expected


def test_a_low_temperature_gives_all_to_the_best_and_a_high_one_to_all_alike() -> None:
    """Both without overflow, down to the smallest temperature there is."""
    assert widths([0.2, 0.9, 0.8], [1, 1, 1], 5e-324) == [0, 3, 0]
    assert widths([0.0, 1.0, 0.5], [4, 4, 4], 100) == [4, 4, 4]


REWARDS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 6)), min_size=1, max_size=10)
TEMPERATURE = st.floats(0.001, 100)


@given(REWARDS, TEMPERATURE)
@settings(deadline=None)
def test_the_split_adds_up(nodes: list[tuple[float, int]], temperature: float) -> None:
    """As many continuations as samples, and none is owed."""
    rewards, samples = zip(*nodes, strict=True)
    split = widths(rewards, samples, temperature)
    assert sum(split) == sum(samples)
    assert min(split) >= 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10), st.integers(1, 6), TEMPERATURE)
@settings(deadline=None)
def test_a_higher_reward_gets_no_less(rewards: list[float], samples: int, temperature: float) -> None:
    """Among nodes that stand for as many samples."""
    split = widths(rewards, [samples] * len(rewards), temperature)
    by_reward = [width for _, width in sorted(zip(rewards, split, strict=True))]
    assert by_reward == sorted(by_reward)


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=10, unique=True), TEMPERATURE, st.randoms(use_true_random=False)
)
@settings(deadline=None)
def test_the_order_of_different_nodes_does_not_matter(
    rewards: list[int], temperature: float, rng: random.Random
) -> None:
    """Only ties are decided by place."""
    order = list(range(len(rewards)))
    rng.shuffle(order)

    def split(places: Sequence[int]) -> list[int]:
        return widths([rewards[place] / 1000 for place in places], [1] * len(places), temperature)

    straight = split(range(len(rewards)))
    assert split(order) == [straight[place] for place in order]


# --- the tree ---

STEPS = {
    (0,): Written("a\n", 0.8),
    (1,): Written("b\n", 0.7),
    (2,): Written("a\n", 0.8),
    (3,): Written("c\n", 0.7),
    (4,): Written("a \n", 0.8),
    (5,): Written("z\n", 0.6, answer="9"),
    (0, 0): Written("d\n", 0.8),
    (0, 1): Written("d\n", 0.8),
    (0, 2): Written("e\n", 0.7, answer="5"),
    (0, 3): Written("f\n", 0.6),
    (1, 0): Written("g\n", 0.9),
    (0, 0, 0): Written("h\n", 0.8, answer="5"),
    (0, 0, 1): Written("h\n", 0.8, answer="5"),
    (0, 0, 2): Written("i\n", 0.4, answer="7"),
    (1, 0, 0): Written("j\n", 0.9, answer="9"),
}

TREE = """
    path   steps  x  scores  value  end
    0      a      3  0.8     0.8
    0.0    d      2  0.8     0.8
    0.0.0  h      2  0.8     0.8    = 5
    0.0.1  h      1  0.8     0.8    as 0.0.0
    0.0.2  i      1  0.4     0.4    = 7
    0.1    d      1  0.8     0.8    as 0.0
    0.2    e      1  0.7     0.7    = 5
    0.3    f      1  0.6     0.6
    1      b      1  0.7     0.7
    1.0    g      1  0.9     0.7
    1.0.0  j      1  0.9     0.7    = 9
    2      a      1  0.8     0.8    as 0
    3      c      1  0.7     0.7
    4      a      1  0.8     0.8    as 0
    5      z      1  0.6     0.6    = 9
"""


def test_golden_tree() -> None:
    """Six samples; 0.1 of reward doubles the weight, rewards are minima.

    Depth 1: one ends, five go on. a (3 samples), b and c weigh 3·2, 1, 1 of 8: 3.75, 0.625 and 0.625 of five; the two
    that are left go to a, and to the earlier of b and c. Depth 2: one ends, four go on. d (2 samples), f and g weigh
    2·4, 1 and 2 of 11: 2.91, 0.36 and 0.73 of four; the two that are left go to d and g. Depth 3: all end.
    """
    search = rebase(6, DOUBLING)
    played = play(search, table(STEPS))
    assert rendered(search) == cleandoc(TREE)
    assert [path for path in played.samples if len(path) == 2] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    assert [path for path in played.samples if len(path) == 3] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0)]


def test_golden_outcome() -> None:
    """5 has 0.8 twice and 0.7; 9 has 0.7 and 0.6; 7 has 0.4."""
    search = rebase(6, DOUBLING)
    play(search, table(STEPS))
    votes = [(vote.answer.text, round(vote.weight, 6), vote.candidates) for vote in search.votes()]
    assert votes == [("5", 2.3, 3), ("9", 1.3, 2), ("7", 0.4, 1)]
    assert [candidate.node for candidate in search.ranking()] == [(0, 0, 0), (0, 2), (1, 0, 0), (5,), (0, 0, 2)]


def test_a_lost_sample_is_not_replaced() -> None:
    """Of six first steps one is refused: five go on. Of five, three are: two go on. All that was begun is finished."""

    def write(path: Path, before: str) -> Written:
        return Written(f"{path[-1]}\n", 0.5, answer="1" if len(path) >= 3 else None)

    assert Counter(map(len, play(rebase(6), write, most_samples=5).samples)) == {1: 6, 2: 5 + 5}
    assert Counter(map(len, play(rebase(5), write, most_samples=7).samples)) == {1: 5, 2: 5 + 3, 3: 2 + 2}


def test_a_node_without_a_score_is_not_grown_from() -> None:
    """The second of two scores is refused: one sample goes on."""
    steps = {path: Written(f"{path[-1]}\n", 0.5, answer="1" if len(path) == 2 else None) for path in paths(2, 2)}
    search = rebase(2)
    assert play(search, table(steps), most_scores=1).samples == [(0,), (1,), (0, 0)]


def paths(width: int, depth: int) -> list[tuple[int, ...]]:
    """All places of a full tree."""
    level: list[tuple[int, ...]] = [()]
    found: list[tuple[int, ...]] = []
    for _ in range(depth):
        level = [(*path, child) for path in level for child in range(width)]
        found += level
    return found


WORLDS = st.integers(0, 10_000).map(random_world)


@given(WORLDS, st.integers(1, 12), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_changes_nothing(world: World, samples: int, rng: random.Random) -> None:
    """The same tree, ranking and votes."""
    straight, shuffled = rebase(samples), rebase(samples)
    play(straight, world)
    play(shuffled, world, rng=rng)
    assert rendered(shuffled) == rendered(straight)
    assert shuffled.ranking() == straight.ranking()
    assert shuffled.votes() == straight.votes()


@given(WORLDS, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_each_sample_goes_on_until_one_ends(world: World, samples: int) -> None:
    """A level has as many samples as the one before it, less those that ended there: N solutions in the end."""
    search = rebase(samples)
    sampled = Counter(len(path) for path in play(search, world).samples)
    ended = Counter(len(node.path) for node in search.nodes() if node.ended is not None)
    assert all(sampled[depth + 1] == sampled[depth] - ended[depth] for depth in range(1, max(sampled) + 1))
    assert sum(candidate.multiplicity for candidate in search.ranking()) == samples
    assert not any(node.children for node in search.nodes() if node.ended is not None)


@given(WORLDS, st.integers(0, 30), st.integers(0, 30), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_budget_that_ends_anywhere_ends_the_search(
    world: World, most_samples: int, most_scores: int, rng: random.Random
) -> None:
    """With a whole solution, whatever was refused."""
    search = rebase(6)
    assert play(search, world, rng=rng, most_samples=most_samples, most_scores=most_scores).finished == "completed"
    assert search.ranking()[0].ended is not None


@pytest.mark.parametrize(
    "parameters", [{"samples": 0}, {"samples": 1025}, {"balance_temperature": 0}, {"balance_temperature": 101}]
)
def test_parameters_are_bounded(parameters: dict[str, float]) -> None:
    """Not one sample, too many, no softmax, none to speak of."""
    with pytest.raises(ValidationError):
        Rebase.model_validate(parameters)


def test_the_scores_of_steps_are_needed() -> None:
    """Certainty scores whole candidates only."""
    with pytest.raises(ValueError, match="scores of its steps"):
        Rebase().build(ScoreSpec.model_validate({"source": "mean_logprob"}))
