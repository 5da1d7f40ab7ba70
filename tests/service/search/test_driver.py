"""The driver against scripted engines: budgets, deadlines, failures, and what is left behind."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.errors import QuestionTooLong
from service.search.driver import Driver, Engines
from service.search.ledger import Account
from service.search.ports import Chunk, Sampling
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.seeds import place_seed
from service.search.slots import Slots
from service.search.terms import Terms
from service.settings import StepForm
from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.protocol import Action, Cancel, Candidate, Ended, Event, Finish, Sample, Step, Strategy, Vote
from strategies.sample import Greedy
from strategies.spec import ScoreSpec

RIGHT = "one plus one\n\nis two \\boxed{2}"
WRONG = "one plus one\n\nis three \\boxed{3}"
SCORES = {"one plus one": 0.9, "is two \\boxed{2}": 0.8, "is three \\boxed{3}": 0.1}


def driver(
    strategy: Strategy,
    policy: ScriptedPolicy,
    scorer: ScriptedScorer | None = None,
    *,
    policy_tokens: int | None = None,
    reward_tokens: int | None = None,
    max_tokens: int = 50,
    parallel: int | None = None,
    deadline_s: float = 5,
) -> Driver:
    """A driver over scripted engines."""
    terms = Terms(
        prompt=(1, 2, 3),
        question="what is one plus one",
        form=StepForm(),
        sampling=Sampling(temperature=1.0),
        seed=0,
        max_tokens=max_tokens,
        parallel=parallel,
        deadline=asyncio.get_running_loop().time() + deadline_s,
    )
    engines = Engines(policy, Slots(64), BoxedReader(), scorer, Slots(64))
    return Driver(
        strategy,
        terms,
        engines,
        policy_account=Account("policy_tokens", policy_tokens),
        reward_account=Account("reward_tokens", reward_tokens),
    )


def answers(strategy: Strategy) -> list[str | None]:
    """The ranked answers."""
    return [c.answer.key if c.answer else None for c in strategy.ranking()]


async def test_weighted_vote_beats_the_majority() -> None:
    """Two wrong candidates of score 0.1 lose against one right candidate of score 0.8."""
    policy, scorer = ScriptedPolicy([WRONG, WRONG, RIGHT]), ScriptedScorer(SCORES)
    strategy = BestOfN(samples=3, early_stop="off").build(ScoreSpec())
    search = driver(strategy, policy, scorer)
    assert await search.run() == "completed"
    assert answers(strategy) == ["2", "3", "3"]
    assert strategy.votes()[0].share == pytest.approx(0.8)


async def test_a_step_that_candidates_share_is_scored_once() -> None:
    """Three candidates, two texts, one common first step: three scores are asked for."""
    scorer = ScriptedScorer(SCORES)
    search = driver(
        BestOfN(samples=3, early_stop="off").build(ScoreSpec()), ScriptedPolicy([WRONG, WRONG, RIGHT]), scorer
    )
    await search.run()
    assert sorted(scorer.asked) == [
        ("one plus one",),
        ("one plus one", "is three \\boxed{3}"),
        ("one plus one", "is two \\boxed{2}"),
    ]
    assert search.counter.reward_submitted == 3 + 6 + 6


async def test_every_token_is_counted() -> None:
    """Generated tokens of all candidates, and the prompt once per candidate."""
    search = driver(MajorityVote(samples=2, early_stop="off").build(ScoreSpec()), ScriptedPolicy([RIGHT, WRONG]))
    await search.run()
    usage = search.counter.usage({(0,)})
    assert (usage.policy.kept, usage.policy.discarded, usage.policy.prompt) == (11, 11, 6)
    assert usage.policy.estimated is False


async def test_greedy_samples_once_at_temperature_zero() -> None:
    """The strategy's temperature wins over the request's."""
    policy = ScriptedPolicy([RIGHT])
    await driver(Greedy().build(ScoreSpec()), policy).run()
    assert [call[2].temperature for call in policy.calls] == [0.0]


async def test_seeds_belong_to_places() -> None:
    """Candidate i is asked for with the seed of its place."""
    policy = ScriptedPolicy([RIGHT] * 3)
    await driver(MajorityVote(samples=3, early_stop="off").build(ScoreSpec()), policy).run()
    assert [call[0] for call in policy.calls] == [place_seed(0, (i,)) for i in range(3)]


async def test_parallel_bounds_the_streams_in_flight() -> None:
    """Ten candidates, three at a time, and all of them run."""
    policy = ScriptedPolicy([RIGHT] * 10)
    strategy = MajorityVote(samples=10, early_stop="off").build(ScoreSpec())
    await driver(strategy, policy, parallel=3).run()
    assert policy.most_open == 3
    assert len(answers(strategy)) == 10


async def test_a_small_budget_starts_few_candidates_that_finish() -> None:
    """25 tokens pay for two candidates of 11; the third is not begun with the 3 that are left."""
    strategy = MajorityVote(samples=5, early_stop="off").build(ScoreSpec())
    search = driver(strategy, ScriptedPolicy([RIGHT] * 5), policy_tokens=25, max_tokens=12)
    assert await search.run() == "policy_tokens"
    assert answers(strategy) == ["2", "2"]


async def test_without_reward_tokens_candidates_stay_unscored() -> None:
    """The first step's three tokens fit, the second step's six do not: the answer is still there, without a score."""
    strategy = BestOfN(samples=1, early_stop="off").build(ScoreSpec())
    search = driver(strategy, ScriptedPolicy([RIGHT]), ScriptedScorer(SCORES), reward_tokens=5)
    assert await search.run() == "reward_tokens"
    assert answers(strategy) == ["2"]
    assert strategy.ranking()[0].score is None
    assert search.counter.reward_submitted == 3


async def test_the_deadline_returns_what_is_there() -> None:
    """One candidate is quick, one would take a minute: the quick one is the answer, and no stream stays open."""
    pauses = iter([0.0] * 11 + [60.0] * 11)
    policy = ScriptedPolicy([RIGHT, WRONG], pause=lambda: next(pauses))
    strategy = MajorityVote(samples=2, early_stop="off").build(ScoreSpec())
    search = driver(strategy, policy, parallel=1, deadline_s=0.2)
    assert await search.run() == "deadline"
    assert answers(strategy) == ["2"]
    assert policy.open_streams == 0
    assert search.counter.usage(set()).policy.estimated is False


class _ShortSighted(ScriptedScorer):
    """Takes no solution that says three."""

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        if "three" in steps[-1]:
            raise QuestionTooLong("too long for the reward model")
        return await super().price(question, steps, first)


async def test_a_candidate_too_long_to_be_scored_does_not_fail_the_search() -> None:
    """It has no score and is named; the others go on."""
    strategy = BestOfN(samples=2, early_stop="off").build(ScoreSpec())
    search = driver(strategy, ScriptedPolicy([WRONG, RIGHT]), _ShortSighted(SCORES))
    assert await search.run() == "completed"
    assert answers(strategy) == ["2", "3"]
    assert set(search.unscorable) == {(0,)}


@dataclass
class _CancelsOthers:
    """Asks for three candidates and keeps the first that tells anything."""

    kept: tuple[int, ...] | None = None
    events: list[Event] = field(default_factory=list)

    def begin(self) -> Sequence[Action]:
        return [Sample((i,)) for i in range(3)]

    def on(self, event: Event) -> Sequence[Action]:
        self.events.append(event)
        if self.kept is None:
            self.kept = event.node
            return [Cancel((i,)) for i in range(3) if (i,) != self.kept]
        over = {type(e).__name__ for e in self.events if e.node == self.kept}
        return [Finish("completed")] if "Ended" in over else []

    def ranking(self) -> Sequence[Candidate]:
        return []

    def votes(self) -> Sequence[Vote]:
        return []


async def test_cancel_stops_running_and_waiting_streams() -> None:
    """Of three candidates one runs, one is stopped while it runs, one before it began."""
    policy = ScriptedPolicy([RIGHT] * 3)
    strategy = _CancelsOthers()
    await driver(strategy, policy, parallel=2).run()
    assert strategy.kept == (0,)
    cancelled = {e.node for e in strategy.events if type(e).__name__ == "Cancelled"}
    assert cancelled == {(1,), (2,)}
    assert len(policy.calls) == 2
    assert policy.open_streams == 0


async def test_a_strategy_that_waits_for_nothing_is_an_error() -> None:
    """A search never hangs on a strategy's mistake."""

    class Idle(_CancelsOthers):
        def begin(self) -> Sequence[Action]:
            return []

    with pytest.raises(RuntimeError, match="Idle"):
        await driver(Idle(), ScriptedPolicy([])).run()


class _Lingering(ScriptedPolicy):
    """Takes its time to say what a stream that was stopped has cost."""

    async def stream(self, prompt: tuple[int, ...], **how: Any) -> AsyncGenerator[Chunk, None]:
        try:
            async for chunk in super().stream(prompt, **how):
                yield chunk
        finally:
            await asyncio.sleep(0.02)


class _CancelsTwo(_CancelsOthers):
    """Asks for four candidates and cancels the first two at their first step."""

    def begin(self) -> Sequence[Action]:
        return [Sample((i,)) for i in range(4)]

    def on(self, event: Event) -> Sequence[Action]:
        self.events.append(event)
        if isinstance(event, Step) and event.node[0] < 2:
            return [Cancel(event.node)]
        ended = {e.node for e in self.events if isinstance(e, Ended)}
        return [Finish("completed")] if {(2,), (3,)} <= ended else []


async def test_the_room_of_cancelled_streams_is_used() -> None:
    """Both that run are cancelled, and end without an event some time later: then the two that wait are started."""
    policy = _Lingering([RIGHT] * 4)
    assert await driver(_CancelsTwo(), policy, parallel=2).run() == "completed"
    assert (len(policy.calls), policy.most_open) == (4, 2)
