"""Beam search: trees checked by hand, and what must hold in any world, whatever comes when."""

import random
from collections import Counter
from inspect import cleandoc

import pytest
from golden import rendered, scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tree_world import Played, World, Written, play, random_world

from strategies.beam_search import BeamSearch
from strategies.protocol import Answer, Cancel, Ended, Finish, Path, Paused, Refused, Sample, Scored, Step
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec
from strategies.tree import TreeSearch


def searched(spec: BeamSearch, world: World, score: ScoreSpec | None = None) -> tuple[str, Played]:
    """Return the tree as a table, and how it came about."""
    score = score or ScoreSpec()
    search = spec.build(score)
    played = play(search, world)
    assert isinstance(search, TreeSearch)
    assert score.steps is not None
    return rendered(search, score.steps), played


def votes(played: Played) -> dict[str, tuple[float, int]]:
    """Return each answer's weight, and how many candidates gave it, heaviest first."""
    return {vote.answer.key: (round(vote.weight, 9), vote.candidates) for vote in played.strategy.votes()}


def test_two_beams() -> None:
    """Level by level the two best are kept; 2.0 is displaced at the third level by 0.0.0 and 0.0.1, and still votes."""
    world = scripted("""
        0        a      0.9
        1        b      0.3
        2        c      0.6
        3        d      0.2
        0.0      e      0.8
        0.1      f      0.4
        2.0      g = 7  0.9
        2.1      h      0.5
        0.0.0    i = 8  0.7
        0.0.1    j      0.65
        0.0.1.0  k = 7  0.9
        0.0.1.1  l      0.1
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2), world)
    assert tree == cleandoc("""
        path     steps  x  scores  value  end
        0        a      1  0.9     0.9
        0.0      e      1  0.8     0.8
        0.0.0    i = 8  1  0.7     0.7    = 8
        0.0.1    j      1  0.65    0.65
        0.0.1.0  k = 7  1  0.9     0.65   = 7
        0.0.1.1  l      1  0.1     0.1
        0.1      f      1  0.4     0.4
        1        b      1  0.3     0.3
        2        c      1  0.6     0.6
        2.0      g = 7  1  0.9     0.6    = 7
        2.1      h      1  0.5     0.5
        3        d      1  0.2     0.2
    """)
    assert votes(played) == {"7": (1.25, 2), "8": (0.7, 1)}
    assert [candidate.node for candidate in played.strategy.ranking()] == [(0, 0, 1, 0), (2, 0), (0, 0, 0)]
    assert played.finished == "completed"


def test_the_best_finished_beam_is_selected() -> None:
    """0.8 against 0.9: what is whole is ranked by its value, where `select` is best."""
    world = scripted("""
        0  a = 1  0.8
        1  b = 2  0.9
        2  c      0.1
        3  d      0.2
    """)
    _, played = searched(BeamSearch(beams=2, expansions=2), world, ScoreSpec(select="best"))
    assert [candidate.score for candidate in played.strategy.ranking()] == [0.9, 0.8]


def test_what_was_never_kept_has_no_vote() -> None:
    """The solution 9 is whole, but was not among the best of its level."""
    world = scripted("""
        0  a = 1  0.8
        1  b = 9  0.1
    """)
    _, played = searched(BeamSearch(beams=1, expansions=2), world)
    assert votes(played) == {"1": (0.8, 1)}


def test_duplicates_are_merged() -> None:
    """Of three places b holds one and a, written three times, two: four children. Two beams wrote each solution."""
    world = scripted("""
        0    a      0.8
        1    b      0.9
        2    a      0.8
        3    a      0.8
        4    c      0.1
        5    c      0.1
        1.0  x = 1  0.9
        1.1  x = 1  0.9
        0.0  y = 2  0.8
        0.1  y = 2  0.8
        0.2  z = 3  0.5
        0.3  w      0.2
    """)
    tree, played = searched(BeamSearch(beams=3, expansions=2), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      3  0.8     0.8
        0.0   y = 2  2  0.8     0.8    = 2
        0.1   y = 2  1  0.8     0.8    as 0.0
        0.2   z = 3  1  0.5     0.5    = 3
        0.3   w      1  0.2     0.2
        1     b      1  0.9     0.9
        1.0   x = 1  2  0.9     0.9    = 1
        1.1   x = 1  1  0.9     0.9    as 1.0
        2     a      1  0.8     0.8    as 0
        3     a      1  0.8     0.8    as 0
        4     c      2  0.1     0.1
        5     c      1  0.1     0.1    as 4
    """)
    assert votes(played) == {"1": (1.8, 2), "2": (1.6, 2)}


def test_a_level_ends_before_scores_that_cannot_matter() -> None:
    """0.8 and 0.7 are certain to stay: below 2, whose value is 0.3, nothing comes to more."""
    world = scripted("""
        0    a      0.9
        1    b      0.1
        2    c      0.3
        3    d      0.2
        0.0  e = 1  0.8
        0.1  f = 2  0.7
        2.0  g      0.9
        2.1  h      0.9
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      1  0.9     0.9
        0.0   e = 1  1  0.8     0.8    = 1
        0.1   f = 2  1  0.7     0.7    = 2
        1     b      1  0.1     0.1
        2     c      1  0.3     0.3
        2.0   g      1  -       -      lost
        2.1   h      1  -       -      lost
        3     d      1  0.2     0.2
    """)
    assert played.cancelled == [(2, 0), (2, 1)]


def test_a_level_waits_for_what_may_be_a_duplicate() -> None:
    """The sibling cannot displace 0.0, whose value it equals at most, but it may be its second vote."""
    search = BeamSearch(beams=1, expansions=2).build(ScoreSpec())
    search.begin()
    for place, score in ((0, 0.5), (1, 0.4)):
        search.on(Step((place,), 0, "a"))
        search.on(Paused((place,)))
        actions = search.on(Scored((place,), 0, (score,)))
    assert actions == [Sample((0, 0), None, 1), Sample((0, 1), None, 1)]
    for place in (0, 1):
        search.on(Step((0, place), 0, "= 1"))
        search.on(Ended((0, place), "stop", "a= 1", Answer("1", "1")))
    assert search.on(Scored((0, 0), 0, (0.9,))) == []
    assert search.on(Scored((0, 1), 0, (0.9,))) == [Finish("completed")]
    assert [(vote.weight, vote.candidates) for vote in search.votes()] == [(1.0, 2)]


def test_a_step_is_judged_by_where_it_leads() -> None:
    """0 leads to 0.2 and 1 to 0.6: 1 is kept. 1.2 leads to a solution with 0.8, which votes: 1.2 is kept."""
    world = scripted("""
        0      a      0.9
        0.0    p      0.2
        1      b      0.5
        1.0    q      0.6
        1.1    r = 4  0.7
        1.2    s      0.4
        1.2.0  t = 5  0.8
        1.2.1  u = 4  0.6
        1.2.2  v = 5  0.5
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=1), world, ScoreSpec(steps="last"))
    assert tree == cleandoc("""
        path   steps  x  scores  value  end
        0      a      1  0.9     0.9
        0.0    p      1  0.2     0.2
        1      b      1  0.5     0.5
        1.0    q      1  0.6     0.6
        1.1    r = 4  1  0.7     0.7    = 4
        1.2    s      1  0.4     0.4
        1.2.0  t = 5  1  0.8     0.8    = 5
        1.2.1  u = 4  1  0.6     0.6    = 4
        1.2.2  v = 5  1  0.5     0.5    = 5
    """)
    assert votes(played) == {"5": (0.8, 1), "4": (0.6, 1)}
    greedy = [action.node for action in played.actions if isinstance(action, Sample) and action.temperature == 0.0]
    assert greedy == [(0, 0), (1, 0), (1, 2, 0)]


def test_duplicates_share_a_lookahead() -> None:
    """The second of two that wrote the same is not rolled out again, and holds its place all the same."""
    world = scripted("""
        0    a      0.9
        0.0  p = 1  0.7
        1    a      0.9
        0.1  q = 2  0.8
        0.2  q = 2  0.8
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=3), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      2  0.9     0.9
        0.0   p = 1  1  0.7     0.7    = 1
        0.1   q = 2  2  0.8     0.8    = 2
        0.2   q = 2  1  0.8     0.8    as 0.1
        1     a      1  0.9     0.9    as 0
    """)
    assert votes(played) == {"2": (1.6, 2), "1": (0.7, 1)}


def test_a_lost_lookahead_leaves_its_step_without_a_value() -> None:
    """0 was scored higher, but its lookahead was refused: the search goes on below 1."""
    search = BeamSearch(beams=1, expansions=2, lookahead=1).build(ScoreSpec())
    search.begin()
    for place, score in ((0, 0.9), (1, 0.4)):
        search.on(Step((place,), 0, f"{place}"))
        search.on(Paused((place,)))
        assert search.on(Scored((place,), 0, (score,))) == [Sample((place, 0), 0.0, 1)]
    search.on(Refused((0, 0), "sample"))
    search.on(Step((1, 0), 0, "more"))
    search.on(Paused((1, 0)))
    assert search.on(Scored((1, 0), 0, (0.3,))) == [Sample((1, 1), None, 1), Sample((1, 2), None, 1)]


def test_a_level_ends_before_lookaheads_that_cannot_matter() -> None:
    """0 comes to 0.8, and 1 to 0.4 at most: the stream below 1 is cancelled."""
    world = scripted("""
        0      a      0.9
        0.0    p      0.8
        1      b      0.4
        1.0    q      0.9
        0.1    c = 1  0.7
        0.2    d = 2  0.6
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=1), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      1  0.9     0.9
        0.0   p      1  0.8     0.8
        0.1   c = 1  1  0.7     0.7    = 1
        0.2   d = 2  1  0.6     0.6    = 2
        1     b      1  0.4     0.4
        1.0   q      1  -       -      lost
    """)
    assert played.cancelled == [(1, 0)]


def test_a_solution_that_ends_without_another_step_keeps_its_value() -> None:
    """0.0 wrote nothing more: it competes with the value of 0, which 0.1 does not reach."""
    search = BeamSearch(beams=1, expansions=2).build(ScoreSpec())
    search.begin()
    for place in (0, 1):
        search.on(Step((place,), 0, f"{place} = {place}"))
        search.on(Paused((place,)))
        search.on(Scored((place,), 0, (0.9 - place / 2,)))
    search.on(Step((0, 1), 0, "more"))
    search.on(Paused((0, 1)))
    search.on(Ended((0, 0), "stop", "0 = 0", Answer("0", "0")))
    assert search.on(Scored((0, 1), 0, (0.8,))) == [Finish("completed")]
    assert [(candidate.node, candidate.score) for candidate in search.ranking()] == [((0, 0), 0.9)]


def test_asynchronous_promotions() -> None:
    """1 is promoted, the better of 0 and 1, before 2 and 3 are known; then 2, the best of four; 3 never is.

    At the second depth 1.0 is promoted first, which is finished, then 2.0, whose value 2.1 only equals.
    """
    world = scripted("""
        0      a      0.2
        1      b      0.3
        2      c      0.9
        3      d      0.8
        1.0    e = 1  0.4
        1.1    f      0.1
        2.0    g      0.9
        2.1    h = 2  0.95
        2.0.0  i = 2  0.6
        2.0.1  j = 3  0.5
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2, mode="async"), world)
    assert tree == cleandoc("""
        path   steps  x  scores  value  end
        0      a      1  0.2     0.2
        1      b      1  0.3     0.3
        1.0    e = 1  1  0.4     0.3    = 1
        1.1    f      1  0.1     0.1
        2      c      1  0.9     0.9
        2.0    g      1  0.9     0.9
        2.0.0  i = 2  1  0.6     0.6    = 2
        2.0.1  j = 3  1  0.5     0.5    = 3
        2.1    h = 2  1  0.95    0.9    = 2
        3      d      1  0.8     0.8
    """)
    assert votes(played) == {"2": (0.6, 1), "1": (0.3, 1)}


def test_asynchronous_duplicates() -> None:
    """1 repeats 0, which is extended for both: four children. Who comes first stands for all."""
    world = scripted("""
        0    a      0.9
        1    a      0.9
        2    a      0.9
        3    b      0.1
        0.0  c = 1  0.9
        0.1  c = 1  0.9
        0.2  d = 2  0.7
        0.3  e = 3  0.6
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2, mode="async"), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      3  0.9     0.9
        0.0   c = 1  2  0.9     0.9    = 1
        0.1   c = 1  1  0.9     0.9    as 0.0
        0.2   d = 2  1  0.7     0.7    = 2
        0.3   e = 3  1  0.6     0.6    = 3
        1     a      1  0.9     0.9    as 0
        2     a      1  0.9     0.9    as 0
        3     b      1  0.1     0.1
    """)
    assert votes(played) == {"1": (1.8, 2)}


def test_too_many_at_once_are_refused() -> None:
    """256 times 8 are more than a level may sample."""
    with pytest.raises(ValidationError, match="beams times expansions is 2048, and can be 1024 at most"):
        BeamSearch(beams=256, expansions=8)


def test_only_step_scores_can_guide_it() -> None:
    """The policy's certainty judges whole candidates."""
    with pytest.raises(ValueError, match="self_certainty@5 scores whole candidates"):
        BeamSearch().build(ScoreSpec(source="self_certainty@5"))


SPECS = st.builds(
    BeamSearch,
    beams=st.integers(1, 4),
    expansions=st.integers(1, 4),
    lookahead=st.integers(0, 2),
    mode=st.sampled_from(["strict", "async"]),
)
STRICT = st.builds(
    BeamSearch, beams=st.integers(1, 4), expansions=st.integers(1, 4), lookahead=st.sampled_from([0, 0, 1, 2])
)
HOW = st.sampled_from(["min", "prod", "last", "mean"])
SEED = st.integers(0, 2**32)


def asked(played: Played) -> list[Path]:
    """The places that were asked for at the policy's own temperature, in the order in which they were."""
    return [a.node for a in played.actions if isinstance(a, Sample) and a.temperature is None]


def outcome(played: Played) -> object:
    """What a search comes to."""
    return played.strategy.ranking(), played.strategy.votes()


@settings(max_examples=200, deadline=None)
@given(STRICT, HOW, SEED, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    spec: BeamSearch, how: StepAggregate, seed: int, rng: random.Random
) -> None:
    """The same steps are asked for in the same order, and the same solutions have the same votes."""
    world, score = random_world(seed), ScoreSpec(steps=how)
    in_order, permuted = play(spec.build(score), world), play(spec.build(score), world, rng=rng)
    assert asked(permuted) == asked(in_order)
    assert outcome(permuted) == outcome(in_order)


@settings(max_examples=100, deadline=None)
@given(SPECS, HOW, SEED, st.randoms(use_true_random=False))
def test_no_level_is_wider_than_asked_for(spec: BeamSearch, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """M times E steps at each depth at most, lookaheads aside."""
    played = play(spec.build(ScoreSpec(steps=how)), random_world(seed), rng=rng)
    depths = Counter(len(node) for node in asked(played))
    assert depths[1] == spec.candidates
    assert max(depths.values()) == spec.candidates


@settings(max_examples=50, deadline=None)
@given(SPECS, SEED, st.randoms(use_true_random=False))
def test_both_modes_sample_the_same_number_of_steps(spec: BeamSearch, seed: int, rng: random.Random) -> None:
    """Where all solutions have three steps, each depth has M times E."""
    score = random.Random(seed)
    scores = {text: score.random() for text in "abc"}

    def world(path: Path, before: str) -> Written:
        text = random.Random(f"{seed}{path}").choice("abc")
        return Written(f"{text}\n", scores[text], "1" if before.count("\n") == 2 else None)

    played = play(spec.build(ScoreSpec(steps="last")), world, rng=rng)
    assert Counter(map(len, asked(played))) == dict.fromkeys((1, 2, 3), spec.candidates)


@settings(max_examples=30, deadline=None)
@given(SPECS, SEED, st.randoms(use_true_random=False))
def test_a_budget_may_end_it_anywhere(spec: BeamSearch, seed: int, rng: random.Random) -> None:
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


@settings(max_examples=100, deadline=None)
@given(STRICT, SEED, st.randoms(use_true_random=False))
def test_a_bound_of_one_ends_no_level_early(spec: BeamSearch, seed: int, rng: random.Random) -> None:
    """By the last score alone, anything may still become the best: nothing is ever cancelled."""
    played = play(spec.build(ScoreSpec(steps="last")), random_world(seed), rng=rng)
    assert not any(isinstance(action, Cancel) for action in played.actions)
