"""Particle filtering: trees checked by hand, with weights and effective sample sizes, and what always holds."""

import random
from collections import Counter
from inspect import cleandoc

import pytest
from golden import place, rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tree_world import World, Written, play, random_world, table

from strategies.particle_filter import ParticleFilter, ParticleSearch
from strategies.protocol import Ended, Path, Paused, Sample, Score, Scored, Step
from strategies.resampling import effective_sample_size
from strategies.spec import ScoreSpec


def particle_filter(particles: int, ess_threshold: float = 0.5, seed: int = 0) -> ParticleSearch:
    """A search that has not begun."""
    search = ParticleFilter(particles=particles, ess_threshold=ess_threshold).build(ScoreSpec(), seed=seed)
    assert isinstance(search, ParticleSearch)
    return search


class Watched(ParticleSearch):
    """Writes down each level: the particles with their weights, their effective size, and which go on from where."""

    def __init__(self, particles: int, ess_threshold: float = 0.5, seed: int = 0) -> None:
        super().__init__(ScoreSpec(), particles=particles, ess_threshold=ess_threshold, seed=seed)
        self.levels: list[str] = []

    def _resample(self) -> None:
        weights = [particle.weight for particle in self.particles]
        weighed = "  ".join(f"{place(particle.node.path)}:{particle.weight:.3g}" for particle in self.particles)
        super()._resample()
        kept = "  ".join(place(particle.node.path) for particle in self.particles)
        self.levels.append(f"{weighed} | ESS {effective_sample_size(weights):.3g} | {kept}")


STEPS = {
    (0,): Written("a\n", 0.8),
    (1,): Written("b\n", 0.4),
    (2,): Written("a \n", 0.8),
    (3,): Written("c\n", 0.2),
    (0, 0): Written("d\n", 0.5),
    (0, 1): Written("f\n", 0.05),
    (1, 0): Written("e\n", 0.1, answer="7"),
    (3, 0): Written("g\n", 0.4),
    (0, 0, 0): Written("h\n", 0.9, answer="5"),
    (0, 0, 1): Written("h\n", 0.9, answer="5"),
    (3, 0, 0): Written("i\n", 0.6),
    (3, 0, 0, 0): Written("j\n", 0.5, answer="7"),
}

TREE = """
    path     steps  x  scores  value  end
    0        a      2  0.8     0.8
    0.0      d      2  0.5     0.5
    0.0.0    h      2  0.9     0.5    = 5
    0.0.1    h      1  0.9     0.5    as 0.0.0
    0.1      f      0  0.05    0.05
    1        b      1  0.4     0.4
    1.0      e      1  0.1     0.1    = 7
    2        a      1  0.8     0.8    as 0
    3        c      1  0.2     0.2
    3.0      g      1  0.4     0.2
    3.0.0    i      1  0.6     0.2
    3.0.0.0  j      1  0.5     0.2    = 7
"""

LEVELS = """
    0:1  1:0.5  0:1  3:0.25 | ESS 3.27 | 0  1  0  3
    0.0:1  1.0:0.1  0.1:0.1  3.0:0.2 | ESS 1.85 | 0.0  0.0  1.0  3.0
    0.0.0:0.9  0.0.0:0.9  1.0:1  3.0.0:0.6 | ESS 3.88 | 0.0.0  0.0.0  1.0  3.0.0
"""


def test_golden_tree() -> None:
    """Four particles, resampled below an effective size of 2; weights are relative to the heaviest one's.

    Level 1: 0.8, 0.4, 0.8 and 0.2; 2.75² / 2.3125 = 3.27: the weights are carried on, two particles share a node.
    Level 2: 0.8·0.5, 0.4·0.1, 0.8·0.05 and 0.2·0.4 are 10 : 1 : 1 : 2 of 14; 1.4² / 1.06 = 1.85: resampled. The
    expected counts end at 2.857, 3.143, 3.429 and 4, and the points are 0.945 and so on (seed 11): two particles at
    0.0, one at the whole solution 1.0, one at 3.0. Level 3: the one at 1.0 stays and weighs 1; 3.4² / 2.98 = 3.88.
    Level 4: the last one ends.
    """
    search = Watched(4, seed=11)
    play(search, table(STEPS))
    assert random.Random("11:2").random() == pytest.approx(0.945, abs=5e-4)
    assert "\n".join(search.levels) == cleandoc(LEVELS)
    assert rendered(search) == cleandoc(TREE)


def test_golden_outcome() -> None:
    """5 has two particles at 0.5 each, 7 one at 0.1 and one at 0.2; what no particle is at any more has no vote."""
    search = particle_filter(4, seed=11)
    play(search, table(STEPS))
    votes = [(vote.answer.text, round(vote.weight, 6), vote.candidates) for vote in search.votes()]
    assert votes == [("5", 1.0, 2), ("7", 0.3, 2)]
    assert [(c.node, c.multiplicity) for c in search.ranking()] == [((0, 0, 0), 2), ((3, 0, 0, 0), 1), ((1, 0), 1)]


ABSORBING = {
    (0,): Written("a\n", 0.9, answer="5"),
    (1,): Written("b\n", 0.1),
    (2,): Written("c\n", 0.1),
    (1, 0): Written("d\n", 0.1, answer="7"),
    (2, 0): Written("e\n", 0.1, answer="8"),
}


@pytest.mark.parametrize(
    ("seed", "outcome"),
    [(0, {(0,): 3}), (1, {(0,): 2, (1, 0): 1}), (2, {(0,): 2, (2, 0): 1})],
)
def test_a_whole_solution_is_copied_and_never_moved(seed: int, outcome: dict[Path, int]) -> None:
    """Three particles weigh 9 : 1 : 1: expected counts end at 2.45, 2.73 and 3; the points are 0.19, 0.72 and 0.77."""
    search = particle_filter(3, seed=seed)
    played = play(search, table(ABSORBING))
    assert {candidate.node: candidate.multiplicity for candidate in search.ranking()} == outcome
    assert len(played.samples) == 3 + 3 - outcome[(0,)]


def test_a_whole_solution_may_vanish() -> None:
    """It weighs 1 of 21, and its sample has no vote any more once it is gone."""
    steps = {(0,): Written("a\n", 0.05, answer="5"), (1,): Written("b\n", 1.0)}
    steps |= {(1, child): Written(f"{child}\n", 1.0, answer="7") for child in (0, 1)}
    search = particle_filter(2, ess_threshold=1, seed=1)
    play(search, table(steps))
    assert {candidate.node: candidate.multiplicity for candidate in search.ranking()} == {(1, 0): 1, (1, 1): 1}


def test_weights_are_carried_on_without_underflow() -> None:
    """1 : 2 after 150 steps of 0.001 each, whose product is 0 in floating point."""

    def write(path: Path, before: str) -> Written:
        if len(path) == 1:
            return Written(f"{path[0]}\n", 0.4 * (path[0] + 1))
        return Written("x\n", 0.001, answer="1" if len(path) == 151 else None)

    search = Watched(2, ess_threshold=0)
    play(search, write)
    assert len(search.levels) == 150
    assert {level.split(" | ")[1] for level in search.levels} == {"ESS 1.8"}


def test_scores_of_zero_throughout_are_equal_weights() -> None:
    """None is better than another: nothing is resampled, and later scores count."""
    steps = {(child,): Written(f"{child}\n", 0.0) for child in (0, 1)}
    steps |= {(child, 0): Written(f"{child}\n", 0.3 * (child + 1)) for child in (0, 1)}
    steps |= {(child, 0, 0): Written(f"{child}\n", 0.5, answer="1") for child in (0, 1)}
    search = Watched(2, ess_threshold=0.8)
    play(search, table(steps))
    assert search.levels == ["0:1  1:1 | ESS 2 | 0  1", "0.0:0.5  1.0:1 | ESS 1.8 | 0.0  1.0"]


def test_an_end_without_a_step_leaves_the_weight_as_it_is() -> None:
    """The policy ends at once in the second level; two steps at once multiply."""
    search = Watched(2, ess_threshold=0)
    search.begin()
    search.on(Step((0,), 0, "a\n"))
    search.on(Scored((0,), 0, (0.5,)))
    search.on(Paused((0,)))
    search.on(Step((1,), 0, "b\n"))
    search.on(Step((1,), 1, "c\n"))
    search.on(Scored((1,), 0, (0.5, 0.5)))
    assert search.on(Paused((1,))) == [Sample((0, 0), None, 1), Sample((1, 0), None, 1)]
    search.on(Ended((0, 0), "stop", "a\n", None))
    assert search.on(Step((1, 0), 0, "d\n")) == [Score((1, 0))]
    search.on(Scored((1, 0), 0, (0.8,)))
    search.on(Paused((1, 0)))
    assert search.levels == ["0:1  1:0.5 | ESS 1.8 | 0  1", "0.0:1  1.0:0.4 | ESS 1.69 | 0.0  1.0"]


def test_a_lost_particle_is_gone() -> None:
    """The fourth first step is refused, and the score of the third: the threshold is a fraction of the two left."""

    def write(path: Path, before: str) -> Written:
        return Written(f"{path[0]}\n", 0.5 / (path[0] + 1), answer="1" if len(path) == 2 else None)

    search = Watched(4, ess_threshold=0.8)
    play(search, write, most_samples=3, most_scores=2)
    assert search.levels == ["0:1  1:0.5 | ESS 1.8 | 0  1"]


WORLDS = st.integers(0, 10_000).map(random_world)
THRESHOLD = st.sampled_from([0.0, 0.5, 0.9, 1.0])


@given(WORLDS, st.integers(1, 12), THRESHOLD, st.integers(0, 9), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_changes_nothing(
    world: World, particles: int, ess_threshold: float, seed: int, rng: random.Random
) -> None:
    """The same seed gives the same tree, ranking and votes."""
    straight, shuffled = (particle_filter(particles, ess_threshold, seed) for _ in range(2))
    play(straight, world)
    play(shuffled, world, rng=rng)
    assert rendered(shuffled) == rendered(straight)
    assert shuffled.ranking() == straight.ranking()
    assert shuffled.votes() == straight.votes()


def test_another_seed_may_resample_otherwise() -> None:
    """Ten seeds do not all give one tree."""
    trees = set()
    for seed in range(10):
        search = particle_filter(8, 1.0, seed)
        play(search, random_world(3))
        trees.add(rendered(search))
    assert len(trees) > 1


@given(WORLDS, st.integers(1, 12), THRESHOLD, st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_particle_ends_at_a_whole_solution(world: World, particles: int, ess_threshold: float, seed: int) -> None:
    """The candidates are where the N particles are, and nothing whole has been moved."""
    search = particle_filter(particles, ess_threshold, seed)
    play(search, world)
    counts = {candidate.node: candidate.multiplicity for candidate in search.ranking()}
    assert counts == Counter(particle.node.path for particle in search.particles)
    assert sum(counts.values()) == particles
    assert not any(node.children for node in search.nodes() if node.ended is not None)


@given(WORLDS, st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_a_threshold_of_zero_never_resamples(world: World, particles: int) -> None:
    """Each sample goes on until it ends: a node has as many children as it has samples."""
    search = particle_filter(particles, ess_threshold=0)
    play(search, world)
    growable = [node for node in search.nodes() if node.paused is not None and node.twin is None]
    assert all(len(node.children) == node.multiplicity for node in growable)


@given(WORLDS, st.integers(0, 30), st.integers(0, 30), THRESHOLD, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_budget_that_ends_anywhere_ends_the_search(
    world: World, most_samples: int, most_scores: int, ess_threshold: float, rng: random.Random
) -> None:
    """With a whole solution, whatever was refused."""
    search = particle_filter(6, ess_threshold)
    assert play(search, world, rng=rng, most_samples=most_samples, most_scores=most_scores).finished == "completed"
    assert search.ranking()[0].ended is not None


@given(WORLDS, st.integers(1, 200), THRESHOLD, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_what_is_whole_is_shown_at_any_moment(
    world: World, most_events: int, ess_threshold: float, rng: random.Random
) -> None:
    """A search that is cut within a level shows its whole solutions, each with the particles that are at it."""
    search = particle_filter(8, ess_threshold)
    play(search, world, rng=rng, most_events=most_events)
    whole = [particle.node.path for particle in search.particles if particle.node.ended is not None]
    if whole:
        assert {candidate.node: candidate.multiplicity for candidate in search.ranking()} == Counter(whole)


@pytest.mark.parametrize(
    "parameters", [{"particles": 0}, {"particles": 1025}, {"ess_threshold": -0.1}, {"ess_threshold": 1.1}]
)
def test_parameters_are_bounded(parameters: dict[str, float]) -> None:
    """Not one particle, too many, and what is no fraction."""
    with pytest.raises(ValidationError):
        ParticleFilter.model_validate(parameters)
