"""PRM-guided MCTS: what holds whatever arrives when, and wherever the budget ends."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_world import Played, World, play, random_world
from watched_mcts import Watched, all_edges, expanded, rollouts, visited

from strategies.mcts import Mcts
from strategies.protocol import Path
from strategies.puct import Edge
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec

SPECS = st.builds(
    Mcts,
    simulations=st.integers(1, 24),
    expansions=st.integers(1, 4),
    exploration=st.sampled_from([0.0, 0.125, 1.0, 100.0]),
    parallel=st.integers(1, 6),
    evaluation=st.sampled_from(["prm", "rollout"]),
)
WORLDS = st.builds(random_world, st.integers(0, 1000), depth=st.integers(1, 5), texts=st.integers(1, 4))
AGGREGATES = st.sampled_from(["last", "min", "prod", "mean"])
LIMITS = st.none() | st.integers(0, 60)


def found(edge: Edge, spec: Mcts, how: StepAggregate, grown: set[Path]) -> list[float]:
    """Return what the simulations that expanded `edge` have found, as the tree tells it, without those that are none.

    They expanded it one after the other. If two of them wrote the same step on, the nth rollout there is the nth one's.
    """
    samples = [node for node in edge.node.children if node.path not in grown]
    grown_from = {
        child.node.path: iter([node for node in child.node.children if node.path in grown]) for child in edge.children
    }
    finds: list[float | None] = []
    for first in range(0, len(samples), spec.expansions):
        tried = samples[first : first + spec.expansions]
        values = {node.twin or node: value for node in tried if (value := node.value(how)) is not None}
        unfinished = [node for node in values if node.ended is None]
        if spec.evaluation == "rollout" and unfinished:
            best = max(unfinished, key=lambda node: (values[node], [-index for index in node.path]))
            finds.append(next(grown_from[best.path]).value(how))
        elif values:
            each = [value for node in tried if (value := node.value(how)) is not None]
            finds.append(sum(each) / len(each))
    return [find for find in finds if find is not None]


def check(search: Watched, played: Played, spec: Mcts, how: StepAggregate) -> None:
    """Assert all that holds of a search that has ended."""
    assert played.finished == "completed"
    grown = rollouts(played)
    edges = list(all_edges(search.top))
    finds = {edge.node.path: found(edge, spec, how, grown) for edge in edges}
    for edge in edges:
        path = edge.node.path
        assert edge.visits == len(finds[path]) + sum(child.visits for child in edge.children), "visits add up"
        values = [value for place, found_there in finds.items() if place[: len(path)] == path for value in found_there]
        assert edge.visits == len(values)
        if values:
            assert edge.q == pytest.approx(sum(values) / len(values)), "a mean is the mean"
        assert edge.under_way == 0
        assert 0 <= edge.q <= 1
        if edge.children:
            assert sum(child.prior for child in edge.children) == pytest.approx(1)
    for node in search.nodes():
        assert not (node.ended and node.children), "a finished node has children"
        assert not (node.twin and node.children), "what is merged is grown from"
    started = expanded(played, spec.expansions)
    assert search.top.visits <= len(started) <= spec.simulations
    if not search.refused and not any(node.unscored for node in search.nodes()):
        assert search.top.visits == spec.simulations, "nothing was refused, and a simulation came to nothing"
    elif not search.refused:
        assert len(started) == spec.simulations or search.top.open == 0, "the search ended, and there was more to do"
    assert not search.late, "a simulation began after the budget had refused a sample"
    assert search.most_in_flight <= spec.parallel
    assert sum(path not in grown for path in played.samples) == len(started) * spec.expansions


@settings(deadline=None)
@given(SPECS, WORLDS, AGGREGATES, st.randoms(use_true_random=False), LIMITS, LIMITS)
def test_invariants_for_any_order_of_arrival_and_any_budget(
    spec: Mcts, world: World, how: StepAggregate, rng: random.Random, most_samples: int | None, most_scores: int | None
) -> None:
    """Visits add up, a mean is the mean, nothing stays in flight, and the search ends."""
    search = Watched(spec, ScoreSpec(steps=how))
    played = play(search, world, rng=rng, most_samples=most_samples, most_scores=most_scores)
    check(search, played, spec, how)


@settings(deadline=None)
@given(SPECS, WORLDS, AGGREGATES, st.randoms(use_true_random=False))
def test_one_simulation_at_a_time_gives_the_same_tree_in_any_order(
    spec: Mcts, world: World, how: StepAggregate, rng: random.Random
) -> None:
    """Also the same ranking, votes and order of expansion."""
    spec = spec.model_copy(update={"parallel": 1})
    told, shuffled = (Watched(spec, ScoreSpec(steps=how)) for _ in range(2))
    order = play(told, world).samples
    assert play(shuffled, world, rng=rng).samples == order
    assert visited(shuffled, how) == visited(told, how)
    assert (shuffled.ranking(), shuffled.votes()) == (told.ranking(), told.votes())


@pytest.mark.parametrize("evaluation", ["prm", "rollout"])
@pytest.mark.parametrize("parallel", [1, 4])
def test_a_budget_that_ends_anywhere_leaves_a_whole_solution(evaluation: str, parallel: int) -> None:
    """Cut at every sample and at every score."""
    spec = Mcts.model_validate({"simulations": 6, "expansions": 2, "evaluation": evaluation, "parallel": parallel})
    whole = play(spec.build(ScoreSpec()), random_world(7, depth=5))
    for cut in range(len(whole.samples) + 1):
        for most_samples, most_scores in ((cut, None), (None, cut)):
            search = Watched(spec, ScoreSpec())
            played = play(search, random_world(7, depth=5), most_samples=most_samples, most_scores=most_scores)
            check(search, played, spec, "min")
            assert search.ranking()[0].ended == "stop"
