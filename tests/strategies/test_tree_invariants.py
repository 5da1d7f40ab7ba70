"""What holds for every tree of the registry, whatever comes when, whatever is refused, on any event loop."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, get_args

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_world import Played, World, play, random_world

from strategies.protocol import (
    Action,
    Answer,
    Cancel,
    Cancelled,
    Ended,
    Event,
    Finish,
    Path,
    Paused,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
)
from strategies.registry import StrategySpec
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec, Spec
from strategies.tree import TreeSearch

SMALL: dict[str, list[dict[str, Any]]] = {
    "beam_search": [
        {"beams": 2, "expansions": 3},
        {"beams": 2, "expansions": 2, "lookahead": 2},
        {"beams": 3, "expansions": 2, "mode": "async"},
    ],
    "dvts": [{"subtrees": 2, "expansions": 2}, {"subtrees": 2, "expansions": 2, "lookahead": 1}],
    "rebase": [{"samples": 5}],
    "particle_filter": [{"particles": 5}],
    "mcts": [
        {"simulations": 6, "expansions": 2, "parallel": 1},
        {"simulations": 6, "expansions": 2, "parallel": 3},
        {"simulations": 4, "expansions": 2, "parallel": 1, "evaluation": "rollout"},
    ],
}
"""Settings beside the defaults."""

KINDS: list[type[Spec]] = [
    kind for kind in get_args(get_args(StrategySpec)[0]) if isinstance(kind().build(ScoreSpec()), TreeSearch)
]
SPECS = [kind(**fields) for kind in KINDS for fields in ({}, *SMALL.get(kind.model_fields["name"].default, []))]


def repeatable(spec: Spec) -> bool:
    """Whether the tree is the same whatever comes when."""
    return getattr(spec, "mode", "strict") == "strict" and getattr(spec, "parallel", 1) == 1


def named(spec: Spec) -> str:
    """What the tests on `spec` are called."""
    others = spec.model_dump(exclude_defaults=True)
    return " ".join([spec.name, *(f"{name}={value}" for name, value in others.items())])


EVERY_TREE = pytest.mark.parametrize("spec", SPECS, ids=named)
EVERY_REPEATABLE_TREE = pytest.mark.parametrize("spec", [spec for spec in SPECS if repeatable(spec)], ids=named)
HOW = st.sampled_from(["min", "prod", "last", "mean"])
SEED = st.integers(0, 2**32)
CHANCE = st.randoms(use_true_random=False)


def outcome(search: TreeSearch) -> object:
    """What a search comes to."""
    return search.ranking(), search.votes()


def built(spec: Spec, how: StepAggregate = "min", seed: int = 0) -> TreeSearch:
    """Return the state machine."""
    search = spec.build(ScoreSpec(steps=how), seed=seed)
    assert isinstance(search, TreeSearch)
    return search


def test_there_are_trees() -> None:
    """The registry holds those that are expected here."""
    assert {kind.model_fields["name"].default for kind in KINDS} >= SMALL.keys()


def check(search: TreeSearch, asked: Sequence[Path], events: Sequence[Event]) -> None:
    """Assert what holds for every tree at its end."""
    assert len(set(asked)) == len(asked)
    assert {node.path for node in search.nodes()} == set(asked)
    scored = Counter((e.node, e.first + i) for e in events if isinstance(e, Scored) for i in range(len(e.scores)))
    assert set(scored.values()) <= {1}
    assert search.votes() == sorted(search.votes(), key=lambda vote: -vote.weight)
    for node in search.nodes():
        assert node.settled
        assert node.ended is None or not node.children
        if node.value("min") is not None:
            assert [scored[node.path, place] for place in range(len(node.steps))] == [1] * len(node.steps)


@EVERY_TREE
@settings(max_examples=20, deadline=None)
@given(how=HOW, seed=SEED, rng=CHANCE)
def test_a_search_that_is_let_alone(spec: Spec, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """It ends by itself with whole solutions, in a tree that is as trees are."""
    search = built(spec, how, seed)
    played = play(search, random_world(seed), rng=rng)
    assert played.finished == "completed"
    assert all(candidate.ended == "stop" for candidate in search.ranking())
    ends = endings(played)
    assert len(ends) == (not any(node.ended for node in search.nodes() if node.path not in ends))
    check(search, played.samples, played.events)


@EVERY_REPEATABLE_TREE
@settings(max_examples=20, deadline=None)
@given(how=HOW, seed=SEED, rng=CHANCE)
def test_the_same_tree_whatever_comes_when(spec: Spec, how: StepAggregate, seed: int, rng: random.Random) -> None:
    """The same steps are asked for, and the same comes of it."""
    world = random_world(seed)
    searches = built(spec, how, seed), built(spec, how, seed)
    plays = play(searches[0], world), play(searches[1], world, rng=rng)
    assert grown(plays[0].actions) == grown(plays[1].actions)
    assert outcome(searches[0]) == outcome(searches[1])


def grown(actions: Sequence[Action]) -> set[Path]:
    """The places that were asked for at the policy's own temperature: greedy ones may be shared, as they come."""
    return {action.node for action in actions if isinstance(action, Sample) and action.temperature is None}


@EVERY_TREE
@settings(max_examples=20, deadline=None)
@given(seed=SEED, rng=CHANCE, most_samples=st.none() | st.integers(0, 20), most_scores=st.none() | st.integers(0, 20))
def test_a_budget_may_end_it_anywhere(
    spec: Spec, seed: int, rng: random.Random, most_samples: int | None, most_scores: int | None
) -> None:
    """However little it may sample and score, there is a whole solution to show."""
    search = built(spec, seed=seed)
    played = play(search, random_world(seed), rng=rng, most_samples=most_samples, most_scores=most_scores)
    assert played.finished == "completed"
    assert search.ranking()[0].ended == "stop"
    check(search, played.samples, played.events)


def endings(played: Played) -> list[Path]:
    """The places at which a beginning was written to its end: rollouts are samples, lookaheads are bounded."""
    wanted = (action for action in played.actions if isinstance(action, Sample))
    return [sample.node for sample in wanted if sample.temperature == 0 and sample.max_steps is None]


@EVERY_TREE
@settings(max_examples=20, deadline=None)
@given(seed=SEED, rng=CHANCE, most_samples=st.integers(0, 20))
def test_a_search_that_is_cut_ends_what_it_has_begun(
    spec: Spec, seed: int, rng: random.Random, most_samples: int
) -> None:
    """Up to 16 endings, the deepest first, each from a place of its own; then nothing more is sampled.

    Something is always whole in the end: where nothing was begun that can be ended, it was before.
    """
    search = built(spec, seed=seed)
    played = play(search, random_world(seed), rng=rng, most_samples=most_samples)
    cut = any(isinstance(event, Refused) for event in played.events)
    ends = endings(played)
    whole = any(isinstance(event, Ended) and event.node not in ends for event in played.events)
    assert len(ends) in range(0 if whole else 1, 17 if cut else 2)
    assert played.samples[len(played.samples) - len(ends) :] == ends
    assert [len(path) for path in ends] == sorted(map(len, ends), reverse=True)
    assert len({path[:-1] for path in ends}) == len(ends)
    assert {candidate.node for candidate in search.ranking()} >= set(ends)


Wanted = Literal["sample", "score"]


@dataclass
class Loop:
    """Plays a search on an event loop: one task per stream and per score, which rest as often as chance has it."""

    search: TreeSearch
    world: World
    rng: random.Random
    refuses: Callable[[Path, Wanted], bool] = lambda path, wanted: False
    texts: dict[Path, str] = field(default_factory=lambda: {(): ""})
    scores: dict[Path, list[float]] = field(default_factory=dict)
    scored: Counter[Path] = field(default_factory=Counter)
    scopes: dict[Path, anyio.CancelScope] = field(default_factory=dict)
    played: Played = field(init=False)

    async def run(self) -> Played:
        """Play to the end."""
        self.played = Played(self.search)
        self.tell, told = anyio.create_memory_object_stream[Event](inf)
        async with self.tell, told, anyio.create_task_group() as tasks:
            self._take(self.search.begin(), tasks)
            while self.played.finished is None:
                event = await told.receive()
                self.played.events.append(event)
                self._take(self.search.on(event), tasks)
            tasks.cancel_scope.cancel()
        return self.played

    def _take(self, actions: Sequence[Action], tasks: TaskGroup) -> None:
        for action in actions:
            self.played.actions.append(action)
            match action:
                case Sample():
                    tasks.start_soon(self._stream, action)
                case Score(node):
                    tasks.start_soon(self._score, node)
                case Cancel(node) if node in self.scopes:
                    self.scopes[node].cancel()
                case Finish(reason):
                    self.played.finished = reason

    async def _stream(self, sample: Sample) -> None:
        node, bounded = sample.node, sample.max_steps is not None
        with anyio.CancelScope() as scope:
            self.scopes[node] = scope
            await self._rest()
            if bounded and self.refuses(node, "sample"):
                self.tell.send_nowait(Refused(node, "sample"))
                return
            text, self.scores[node] = self.texts[node[:-1]], []
            while not bounded or len(self.scores[node]) < (sample.max_steps or 0):
                await self._rest()
                step = self.world((*node, *(0 for _ in self.scores[node])), text)
                text += step.text
                self.tell.send_nowait(Step(node, len(self.scores[node]), step.text))
                self.scores[node].append(step.score)
                if step.answer is not None:
                    self.tell.send_nowait(Ended(node, "stop", text, Answer(step.answer, step.answer), step.certainty))
                    return
            self.texts[node] = text
            self.tell.send_nowait(Paused(node, step.certainty))
        if scope.cancelled_caught:
            self.tell.send_nowait(Cancelled(node))

    async def _score(self, node: Path) -> None:
        first, scores = self.scored[node], tuple(self.scores[node][self.scored[node] :])
        self.scored[node] += len(scores)
        await self._rest()
        if self.refuses(node, "score"):
            self.tell.send_nowait(Refused(node, "score"))
        else:
            self.tell.send_nowait(Scored(node, first, scores))

    async def _rest(self) -> None:
        for _ in range(self.rng.randrange(4)):
            await anyio.lowlevel.checkpoint()


@EVERY_REPEATABLE_TREE
@pytest.mark.parametrize("seed", range(3))
def test_the_same_tree_on_asyncio_and_trio(spec: Spec, seed: int) -> None:
    """Two event loops that schedule their tasks each in its own way, and chance beside."""
    world, plays = random_world(seed), list[Played]()
    for backend in ("asyncio", "trio"):
        search = built(spec, seed=seed)
        plays.append(anyio.run(Loop(search, world, random.Random(f"{seed}{backend}")).run, backend=backend))
        check(search, plays[-1].samples, plays[-1].events)
    assert grown(plays[0].actions) == grown(plays[1].actions)
    first, second = (played.strategy for played in plays)
    assert (first.ranking(), first.votes()) == (second.ranking(), second.votes())


@EVERY_TREE
@settings(max_examples=15, deadline=None)
@given(how=HOW, seed=SEED, rng=CHANCE, share=st.sampled_from([0.1, 0.5, 0.9]))
def test_anything_may_be_refused(spec: Spec, how: StepAggregate, seed: int, rng: random.Random, share: float) -> None:
    """Single streams and scores that cannot be had, anywhere: the search ends, and its tree is as trees are."""
    search = built(spec, how, seed)

    def refuses(path: Path, wanted: Wanted) -> bool:
        return random.Random(f"{seed}{path}{wanted}").random() < share

    played = anyio.run(Loop(search, random_world(seed), rng, refuses).run)
    assert played.finished == "completed"
    assert search.ranking()[0].ended == "stop"
    check(search, played.samples, played.events)
