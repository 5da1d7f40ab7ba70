"""A step that was scored once is not scored again: within a search, and by another one at the same time or later."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import EngineUnavailable, QuestionTooLong
from service.search.ledger import Account, BudgetExhausted
from service.search.memo import Key, ScoreMemo, score_key
from service.search.ports import Bill
from service.search.scoring import StepScores
from service.search.scripted import SeededScorer
from service.search.slots import Slots
from service.search.tasks import Tasks
from service.search.usage import Counter

STEPS = ("one", "two", "three")


@dataclass
class Gate(SeededScorer):
    """Answers when it is let, and then as `fails` says."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    fails: list[Exception] = field(default_factory=list)

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        scores = await super().score(question, steps, first, bill)
        await self.open.wait()
        if self.fails:
            raise self.fails.pop()
        return scores


class Searching:
    """What a search has of its own: its account, its tasks and its counter."""

    def __init__(self, scorer: SeededScorer, memo: ScoreMemo, slots: Slots, *, budget: int | None = None) -> None:
        self.counter = Counter(0)
        self.tasks = Tasks()
        self.account = Account("reward_tokens", budget)
        self.scores = StepScores(
            "?", scorer, slots.share(), self.account, self.tasks.spawn, self.counter.judged, memo=memo
        )

    async def of(self, steps: Sequence[str], first: int = 0) -> tuple[float, ...]:
        """Ask, and leave nothing behind."""
        try:
            return await self.scores.of(steps, first)
        finally:
            await self.tasks.close(asyncio.get_running_loop().time())


class World:
    """Searches on one reward model."""

    def __init__(self, scorer: SeededScorer, memo: ScoreMemo | None = None) -> None:
        self.scorer, self.memo, self.slots = scorer, memo or ScoreMemo(), Slots(2)

    def search(self, budget: int | None = None) -> Searching:
        return Searching(self.scorer, self.memo, self.slots, budget=budget)


async def settle() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def spent(search: Searching) -> tuple[int, int]:
    """What a search has submitted, and how many scores it was spared."""
    usage = search.counter.usage(set()).reward
    return usage.submitted, usage.remembered


async def test_a_later_search_pays_nothing() -> None:
    """It has the same scores, and asks for the new step only."""
    world = World(SeededScorer())
    first, second = world.search(), world.search()
    scores = await first.of(STEPS[:2])
    assert (await second.of(STEPS))[:2] == scores
    assert sorted(world.scorer.asked) == [STEPS[:1], STEPS[:2], STEPS]
    assert (spent(first), spent(second)) == ((1 + 2, 0), (3, 2))


async def test_what_is_at_hand_is_told_at_once() -> None:
    """Without a task, and counted once however often it is looked at."""
    world = World(SeededScorer())
    scores = await world.search().of(STEPS)
    later = world.search()
    assert later.scores.remembered(STEPS, 0) == later.scores.remembered(STEPS, 0) == scores
    assert spent(later) == (0, 3)


async def test_white_space_around_steps_makes_no_difference() -> None:
    """A scorer is told the stripped text, too."""
    world = World(SeededScorer())
    await world.search().of(STEPS)
    assert await world.search().of(("one\n\n", " two ", "three\n")) == await world.search().of(STEPS)
    assert len(world.scorer.asked) == 3


async def test_another_question_has_other_scores() -> None:
    """And so have the same words cut otherwise."""
    keys = {score_key("?", ("a", "b")), score_key("?", ("a\nb",)), score_key("?a", ("b",)), score_key("!", ("a", "b"))}
    assert len(keys) == 4


@pytest.mark.parametrize("reads", ["step", "solution"])
async def test_who_asks_second_waits_for_the_first_ones_request(reads: Any) -> None:
    """One bill, two answers."""
    world = World(Gate(reads=reads))
    first, second = world.search(), world.search()
    asking = [asyncio.create_task(search.of(STEPS)) for search in (first, second)]
    await settle()
    world.scorer.open.set()  # type: ignore[attr-defined]
    one, other = await asyncio.gather(*asking)
    assert one == other
    assert len(world.scorer.asked) == (3 if reads == "step" else 1)
    assert spent(first)[0] == sum(bill.prompt for bill in world.scorer.bills)
    assert spent(second) == (0, 3)


async def test_where_the_first_leaves_one_of_the_others_asks_for_all() -> None:
    """The first one's request ends with it; the bill of the second request is its asker's own."""
    world = World(gate := Gate())
    leaving, *staying = searches = [world.search() for _ in range(3)]
    asking = [asyncio.create_task(search.of(STEPS[:1])) for search in searches]
    await settle()
    asking[0].cancel()
    await settle()
    assert gate.asked == [STEPS[:1]] * 2
    gate.open.set()
    assert len(set(await asyncio.gather(*asking[1:]))) == 1
    assert len(gate.asked) == 2
    assert [spent(search)[0] for search in searches] == [1, 1, 0]
    assert leaving.account.spent == 1
    assert sum(spent(search)[1] for search in staying) == 1


async def test_who_leaves_without_being_the_first_ends_nothing() -> None:
    """The request goes on."""
    world = World(gate := Gate())
    searches = [world.search() for _ in range(2)]
    asking = [asyncio.create_task(search.of(STEPS[:1])) for search in searches]
    await settle()
    asking[1].cancel()
    await settle()
    gate.open.set()
    await asking[0]
    assert len(gate.asked) == 1


async def test_what_nobody_in_the_search_wants_any_more_is_given_up() -> None:
    """One of two candidates goes, and then the other: only then the request ends, and the search can ask again."""
    world = World(gate := Gate())
    search = world.search()
    waiting = [asyncio.create_task(search.scores.of(STEPS[:1], 0)) for _ in range(2)]
    await settle()
    waiting[0].cancel()
    await settle()
    assert spent(search) == (0, 0)
    waiting[1].cancel()
    await settle()
    assert spent(search) == (1, 0)
    gate.open.set()
    assert len(await search.of(STEPS[:1])) == 1
    assert len(gate.asked) == 2


async def test_an_engines_failure_is_everybodys() -> None:
    """Those who waited would have met it; who comes later asks anew."""
    world = World(gate := Gate(fails=[EngineUnavailable("gone")]))
    asking = [asyncio.create_task(world.search().of(STEPS[:1])) for _ in range(3)]
    await settle()
    gate.open.set()
    assert [type(error) for error in await asyncio.gather(*asking, return_exceptions=True)] == [EngineUnavailable] * 3
    assert len(gate.asked) == 1
    assert len(await world.search().of(STEPS[:1])) == 1


async def test_a_budget_is_ones_own() -> None:
    """The first has no tokens for it, the second has: it is not refused."""
    world = World(gate := Gate())
    blocker = asyncio.create_task(world.search().of(("other",)))
    poor, rich = world.search(budget=1), world.search()
    await settle()
    asking = [asyncio.create_task(search.of(("one two",))) for search in (poor, rich)]
    gate.open.set()
    refused, scores = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(refused, BudgetExhausted)
    assert isinstance(scores, tuple)
    await blocker


class Short(SeededScorer):
    """Takes no three steps."""

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        if len(steps) > 2:
            raise QuestionTooLong("three steps")
        return await super().price(question, steps, first)


async def test_what_is_too_long_for_one_is_found_so_by_the_other() -> None:
    """Each asks for itself, and nothing is submitted for either."""
    world = World(Short())
    found = await asyncio.gather(*(world.search().of(STEPS, 2) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in found] == [QuestionTooLong] * 2
    assert world.scorer.asked == []


async def test_what_is_read_as_a_whole_is_asked_for_in_one_request() -> None:
    """From the first step that is not known; what is on its way already is not asked for a second time."""
    world = World(gate := Gate(reads="solution"))
    search = world.search()
    begun = asyncio.create_task(search.scores.of(STEPS[:2], 0))
    await settle()
    rest = asyncio.create_task(search.scores.of((*STEPS, "four"), 0))
    within = asyncio.create_task(search.scores.of(STEPS[:1], 0))
    await settle()
    assert gate.asked == [STEPS[:2], (*STEPS, "four")]
    assert gate.bills[1].generated == 2
    gate.open.set()
    scores = await rest
    assert (await begun, await within) == (scores[:2], scores[:1])
    assert len(gate.asked) == 2


async def test_what_a_request_has_scored_on_the_way_is_remembered_too() -> None:
    """As the model says it: what an earlier run is said to have known is for its own continuation."""
    world = World(SeededScorer(reads="solution"))
    continued = world.search()
    continued.scores.known[STEPS[:2]] = 0.123
    assert (await continued.of(STEPS))[1] == 0.123
    later = await world.search().of(STEPS)
    assert later[1] != 0.123
    assert world.scorer.asked == [STEPS]


async def test_what_a_judge_has_written_counts_for_its_budget() -> None:
    """The token by which a label is told does not."""
    whole, stepwise = World(SeededScorer(reads="solution")).search(), World(SeededScorer()).search()
    await whole.of(STEPS)
    await stepwise.of(STEPS)
    assert whole.account.spent == 3 * 3 + 3
    assert stepwise.account.spent == 1 + 2 + 3


async def test_no_more_is_kept_than_there_is_room_for() -> None:
    """What was used longest ago is forgotten first."""
    world = World(SeededScorer(), ScoreMemo(size=2))
    for word in ("a", "b", "a", "c", "a", "b"):
        await world.search().of((word,))
    assert [steps[0] for steps in world.scorer.asked] == ["a", "b", "c", "b"]


class Shelf:
    """A store in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[Key, float] = {}
        self.looks: list[int] = []

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        self.looks.append(len(keys))
        await asyncio.sleep(0)
        return {key: self.kept[key] for key in keys if key in self.kept}

    def put(self, scores: Mapping[Key, float]) -> None:
        self.kept |= scores


async def test_a_store_is_asked_once_for_all_and_told_what_is_new() -> None:
    """Another worker finds there what this one had scored; what is at hand is not looked up."""
    shelf = Shelf()
    here, there = World(SeededScorer(), ScoreMemo(store=shelf)), World(SeededScorer(), ScoreMemo(store=shelf))
    scores = await here.search().of(STEPS)
    later = there.search()
    assert await later.of(STEPS) == scores
    assert await there.search().of(STEPS) == scores
    assert there.scorer.asked == []
    assert spent(later) == (0, 3)
    assert shelf.looks == [3, 3]


@dataclass
class Once(SeededScorer):
    """Notices a request for what is known already, or is being asked for. Some of its scores are slow to come."""

    rng: random.Random = field(default_factory=random.Random)
    done: set[tuple[str, ...]] = field(default_factory=set)
    running: set[tuple[str, ...]] = field(default_factory=set)
    twice: list[tuple[str, ...]] = field(default_factory=list)

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        ends = {tuple(steps[: first + 1]), tuple(steps)}
        self.twice += ends & (self.done | self.running)
        self.running |= ends
        try:
            scores = await super().score(question, steps, first, bill)
            for _ in range(self.rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            self.running -= ends
        self.done.update(tuple(steps[: end + 1]) for end in range(first, len(steps)))
        return scores


class Sieve(Shelf):
    """A store that keeps some, and is slow at times."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        return await super().get(keys)

    def put(self, scores: Mapping[Key, float]) -> None:
        self.kept |= {key: score for key, score in scores.items() if self.rng.random() < 0.5}


solutions = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4).map(tuple)


@settings(max_examples=300, deadline=None)
@given(
    wanted=st.lists(st.tuples(st.integers(0, 3), solutions, st.integers(0, 12)), min_size=2, max_size=10),
    cancelled=st.dictionaries(st.integers(0, 9), st.integers(0, 20), max_size=3),
    budget=st.none() | st.integers(1, 12),
    reads=st.sampled_from(["step", "solution"]),
    stored=st.booleans(),
    order=st.integers(0, 2**32),
)
def test_nothing_is_scored_twice_in_any_order(
    wanted: list[tuple[int, tuple[str, ...], int]],
    cancelled: dict[int, int],
    budget: int | None,
    reads: Any,
    stored: bool,
    order: int,
) -> None:
    """Four searches ask for solutions that begin alike, some leave, one is poor: each score is asked for once."""
    rng = random.Random(order)
    scorer = Once(reads=reads, rng=rng)

    async def run() -> None:
        world = World(scorer, ScoreMemo(store=Sieve(rng) if stored else None))
        searches = [world.search(budget if number == 0 else None) for number in range(4)]
        before = asyncio.all_tasks()

        async def ask(place: int) -> tuple[float, ...]:
            search, steps, turns = wanted[place]
            for _ in range(turns):
                await asyncio.sleep(0)
            return await searches[search].scores.of(steps, 0)

        asking = [asyncio.create_task(ask(place)) for place in range(len(wanted))]
        for turn in range(30):
            for place, leaves in cancelled.items():
                if leaves == turn and place < len(asking):
                    asking[place].cancel()
            await asyncio.sleep(0)
        found = await asyncio.gather(*asking, return_exceptions=True)
        for (search, steps, _), scores in zip(wanted, found, strict=True):
            if isinstance(scores, tuple):
                assert scores == tuple(scorer._worth(steps[: end + 1]) for end in range(len(steps)))
            else:
                expected = (asyncio.CancelledError, BudgetExhausted) if search == 0 else asyncio.CancelledError
                assert isinstance(scores, expected)
        await settle()
        assert asyncio.all_tasks() == before
        assert scorer.twice == []
        assert sum(spent(search)[0] for search in searches) == sum(bill.prompt for bill in scorer.bills)
        assert world.slots.free == 2
        assert not any(world.memo.asked(score_key("?", steps[:end])) for _, steps, _ in wanted for end in range(1, 5))

    asyncio.run(run())
