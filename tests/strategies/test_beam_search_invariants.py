"""Beam search in any world, with whatever parameters, whatever comes when."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tree_world import Played, Written, play, random_world

from strategies.beam_search import BeamSearch
from strategies.protocol import Cancel, Path, Sample
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec

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
