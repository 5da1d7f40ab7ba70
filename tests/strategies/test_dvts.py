"""Diverse verifier tree search: a tree checked by hand, and that its subtrees are beam searches of their own."""

import random
from collections import Counter
from inspect import cleandoc

import pytest
from golden import rendered, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tree_world import Played, Written, play, random_world

from strategies.beam_search import BeamSearch
from strategies.dvts import Dvts
from strategies.protocol import Path, Paused, Refused, Sample, Scored, Step
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec
from strategies.tree import TreeSearch


def test_two_subtrees() -> None:
    """3 is kept though 1 is better, in whose subtree 0 is. Each subtree ends with the best solution of its own."""
    world = scripted("""
        0      a      0.9
        1      b      0.5
        2      c      0.3
        3      d      0.4
        0.0    e = 1  0.8
        0.1    f = 2  0.7
        3.0    g      0.35
        3.1    h = 2  0.2
        3.0.0  i = 2  0.3
        3.0.1  j = 2  0.33
    """)
    search = Dvts(subtrees=2, expansions=2).build(ScoreSpec())
    played = play(search, world)
    assert isinstance(search, TreeSearch)
    assert rendered(search) == cleandoc("""
        path   steps  x  scores  value  end
        0      a      1  0.9     0.9
        0.0    e = 1  1  0.8     0.8    = 1
        0.1    f = 2  1  0.7     0.7    = 2
        1      b      1  0.5     0.5
        2      c      1  0.3     0.3
        3      d      1  0.4     0.4
        3.0    g      1  0.35    0.35
        3.0.0  i = 2  1  0.3     0.3    = 2
        3.0.1  j = 2  1  0.33    0.33   = 2
        3.1    h = 2  1  0.2     0.2    = 2
    """)
    assert [(candidate.node, candidate.score) for candidate in search.ranking()] == [((0, 0), 0.8), ((3, 0, 1), 0.33)]
    assert [(vote.answer.key, vote.weight, vote.candidates) for vote in search.votes()] == [
        ("1", 0.8, 1),
        ("2", 0.33, 1),
    ]
    assert played.finished == "completed"


def test_a_subtree_does_not_wait() -> None:
    """The first one has its second level while nothing is known of the other one."""
    search = Dvts(subtrees=2, expansions=2).build(ScoreSpec())
    search.begin()
    for place, score in ((0, 0.4), (1, 0.6)):
        search.on(Step((place,), 0, f"{place}"))
        search.on(Paused((place,)))
        actions = search.on(Scored((place,), 0, (score,)))
    assert actions == [Sample((1, 0), None, 1), Sample((1, 1), None, 1)]


def test_a_subtree_that_is_lost_takes_no_other_with_it() -> None:
    """The first one's only step is refused; the second one goes on."""
    search = Dvts(subtrees=2, expansions=1).build(ScoreSpec())
    search.begin()
    assert search.on(Refused((0,), "sample")) == []
    search.on(Step((1,), 0, "a"))
    search.on(Paused((1,)))
    assert search.on(Scored((1,), 0, (0.1,))) == [Sample((1, 0), None, 1)]


def test_subtrees_do_not_share_what_they_wrote() -> None:
    """Both wrote the same solution: two candidates with one vote each. Within a subtree it is one, with two votes."""
    world = scripted("""
        0  a = 1  0.5
        1  a = 1  0.5
        2  a = 1  0.5
        3  b = 2  0.4
    """)
    search = Dvts(subtrees=2, expansions=2).build(ScoreSpec())
    play(search, world)
    assert [(candidate.node, candidate.multiplicity) for candidate in search.ranking()] == [((0,), 2), ((2,), 1)]
    assert [(vote.weight, vote.candidates) for vote in search.votes()] == [(1.5, 3)]


def test_too_many_at_once_are_refused() -> None:
    """256 times 8 are more than a level may sample."""
    with pytest.raises(ValidationError, match="subtrees times expansions is 2048, and can be 1024 at most"):
        Dvts(subtrees=256, expansions=8)


SPECS = st.builds(
    Dvts, subtrees=st.integers(1, 4), expansions=st.integers(1, 4), lookahead=st.sampled_from([0, 0, 1, 2])
)
HOW = st.sampled_from(["min", "prod", "last", "mean"])
SEED = st.integers(0, 2**32)


def asked(played: Played) -> list[Path]:
    """The places that were asked for at the policy's own temperature."""
    return [a.node for a in played.actions if isinstance(a, Sample) and a.temperature is None]


@settings(max_examples=100, deadline=None)
@given(SPECS, HOW, SEED, st.randoms(use_true_random=False))
def test_it_is_as_many_beam_searches(spec: Dvts, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """Whatever comes when: the same steps are asked for, and the same solutions come of it, as if each were alone."""
    world, score = random_world(seed), ScoreSpec(steps=how, select="best")
    together = play(spec.build(score), world, rng=rng)
    places, solutions = list[Path](), list[object]()
    for subtree in range(spec.subtrees):
        first = subtree * spec.expansions

        def moved(path: Path, before: str, first: int = first) -> Written:
            return world((path[0] + first, *path[1:]), before)

        alone = play(BeamSearch(beams=1, expansions=spec.expansions, lookahead=spec.lookahead).build(score), moved)
        places += [(path[0] + first, *path[1:]) for path in asked(alone)]
        solutions += [(c.node[0] + first, c.text, c.score, c.multiplicity) for c in alone.strategy.ranking()]
    assert sorted(asked(together)) == sorted(places)
    ranking = together.strategy.ranking()
    assert sorted((c.node[0], c.text, c.score, c.multiplicity) for c in ranking) == sorted(solutions)  # type: ignore[type-var]


@settings(max_examples=100, deadline=None)
@given(SPECS, HOW, SEED, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(spec: Dvts, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """The same solutions have the same places and votes."""
    world, score = random_world(seed), ScoreSpec(steps=how)
    in_order, permuted = play(spec.build(score), world), play(spec.build(score), world, rng=rng)
    assert permuted.strategy.ranking() == in_order.strategy.ranking()
    assert permuted.strategy.votes() == in_order.strategy.votes()


@settings(max_examples=30, deadline=None)
@given(SPECS, HOW, SEED, st.randoms(use_true_random=False))
def test_no_level_is_wider_than_asked_for(spec: Dvts, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """S times E steps at each depth at most, lookaheads aside."""
    played = play(spec.build(ScoreSpec(steps=how)), random_world(seed), rng=rng)
    assert max(Counter(len(node) for node in asked(played)).values()) == spec.candidates


@settings(max_examples=20, deadline=None)
@given(SPECS, SEED, st.randoms(use_true_random=False))
def test_a_budget_may_end_it_anywhere(spec: Dvts, seed: int, rng: random.Random) -> None:
    """With any number of samples or scores there is a whole solution to show."""
    world = random_world(seed)
    whole = play(spec.build(ScoreSpec()), world, rng=rng)
    for most in range(len(whole.samples) + 1):
        for played in (
            play(spec.build(ScoreSpec()), world, rng=rng, most_samples=most),
            play(spec.build(ScoreSpec()), world, rng=rng, most_scores=most),
        ):
            assert played.finished == "completed"
            assert played.strategy.ranking()[0].ended == "stop"
