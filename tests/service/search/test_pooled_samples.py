"""Whatever was asked before, a search uses the samples 0 to N - 1, and each token of them is paid for once."""

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest
from exits import Slow
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_samples import MemoryPool, Restless, drawn
from scripted_search import RIGHT, SCORES, WRONG, records, solve

from service.errors import MullError, NoAnswer
from service.search.past import past_of
from service.search.progress import Interest
from service.search.replay import replay
from service.search.request import SearchResult, SearchUsage
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer, SeededScorer
from service.search.trace import Begun, Told
from service.search.watch import Watch
from strategies.protocol import Ended, Path, Step

TEXTS = [RIGHT, WRONG, RIGHT, WRONG, RIGHT, RIGHT]
MOSTLY_RIGHT = [*[RIGHT] * 7, WRONG] * 8
ALL = {"name": "majority_vote", "early_stop": "off"}


def texts(seed: int) -> list[str]:
    """Solutions that differ."""
    rng = random.Random(seed)
    return [drawn(rng) for _ in range(16)]


def generated(usage: SearchUsage | None) -> int:
    """The policy's tokens."""
    return 0 if usage is None else usage.policy.kept + usage.policy.discarded


def spent(policy: ScriptedPolicy) -> int:
    """By the engine's own count."""
    return sum(bill.generated for bill in policy.bills)


def told(result: SearchResult) -> dict[Path, list[Step | Ended]]:
    """What the strategy was told of the text of each stream, in order."""
    events = defaultdict(list)
    for record in records(result):
        if isinstance(record, Told) and isinstance(record.event, Step | Ended):
            events[record.event.node].append(record.event)
    return events


def ended(result: SearchResult) -> list[Ended]:
    """The ends of all streams."""
    return [events[-1] for events in told(result).values() if isinstance(events[-1], Ended)]


one_search = st.fixed_dictionaries(
    {
        "samples": st.sampled_from([1, 3, 8, 16]),
        "strategy": st.sampled_from(["majority_vote", "best_of_n"]),
        "early_stop": st.sampled_from(["exact", "off"]),
        "parallel": st.none() | st.integers(1, 8),
        "policy_tokens": st.none() | st.integers(1, 200),
        "leaves_after": st.none() | st.integers(0, 60),
    }
)


async def search(
    asked: dict[str, Any], policy: ScriptedPolicy, pool: MemoryPool | None, moments: random.Random
) -> SearchResult | None:
    """Search once; `None` where the client left, which it does after so many moments, or there was no answer."""
    policy.pause = lambda: moments.choice([0, 0, 0, 1e-5])
    running = asyncio.create_task(
        solve(
            policy,
            {"name": asked["strategy"], "samples": asked["samples"], "early_stop": asked["early_stop"]},
            scorer=SeededScorer(),
            pool=pool,
            budget={"parallel": asked["parallel"], "policy_tokens": asked["policy_tokens"]},
            max_completion_tokens=20,
        )
    )
    for _ in range(asked["leaves_after"] or 0):
        await asyncio.sleep(0)
    if asked["leaves_after"] is not None:
        running.cancel()
    try:
        return await running
    except (asyncio.CancelledError, NoAnswer):
        return None


def unlimited(asked: dict[str, Any]) -> dict[str, Any]:
    """The same search without a budget."""
    return asked | {"policy_tokens": None}


@settings(max_examples=40, deadline=None)
@given(before=st.lists(one_search, max_size=6), seed=st.integers(0, 2**32))
def test_each_token_is_generated_once(before: list[dict[str, Any]], seed: int) -> None:
    """However searches follow each other, end early or are left: with one of 16 all have cost what it costs alone.

    And what each of them says that it has spent is what the engine counts.
    """

    async def run() -> None:
        moments, solutions, pool, total = random.Random(seed), texts(seed), MemoryPool(), 0
        last = {"samples": 16, "strategy": "majority_vote", "early_stop": "off", "parallel": None, "leaves_after": None}
        for asked in [*map(unlimited, before), unlimited(last)]:
            policy = ScriptedPolicy(solutions)
            result = await search(asked, policy, pool, moments)
            total += spent(policy)
            if result is not None:
                assert generated(result.usage) - generated(result.continued) == spent(policy)
        alone = ScriptedPolicy(solutions)
        assert result is not None
        fresh = await search(unlimited(last), alone, None, moments)
        assert fresh is not None
        assert total == spent(alone)
        assert sorted(c.text for c in result.candidates) == sorted(c.text for c in fresh.candidates)

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(searches=st.lists(one_search, min_size=1, max_size=8), seed=st.integers(0, 2**32))
def test_what_was_written_first_at_an_index_stays(searches: list[dict[str, Any]], seed: int) -> None:
    """The policy draws anew each time, and a sample still goes on from its own beginning, and only until its end."""

    async def run() -> None:
        moments, pool = random.Random(seed), MemoryPool()
        for asked in map(unlimited, searches):
            before = pool.texts()
            result = await search(asked, Restless(rng=moments), pool, moments)
            after = pool.texts()
            for index, (text, ended) in before.items():
                assert after[index][0] == text if ended else after[index][0].startswith(text)
            if result is not None and asked["early_stop"] == "off":
                firsts = sorted(after[index][0] for index in range(asked["samples"]))
                assert sorted(c.text for c in result.candidates for _ in range(c.multiplicity)) == firsts

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(
    before=st.lists(one_search, min_size=1, max_size=2),
    last=st.fixed_dictionaries({"parallel": st.none() | st.integers(1, 8), "policy_tokens": st.integers(15, 80)}),
    seed=st.integers(0, 2**32),
)
def test_a_budget_buys_what_it_buys_without_a_pool(
    before: list[dict[str, Any]], last: dict[str, Any], seed: int
) -> None:
    """Tokens that earlier searches have paid count as if they were new: the same candidates, the same end."""

    async def run() -> None:
        moments, solutions, pool = random.Random(seed), texts(seed), MemoryPool()
        asked = ALL | last | {"strategy": "majority_vote", "samples": 8, "leaves_after": None}
        for earlier in before:
            await search(earlier, ScriptedPolicy(solutions), pool, moments)
        fresh = await search(asked, ScriptedPolicy(solutions), None, moments)
        policy = ScriptedPolicy(solutions)
        pooled = await search(asked, policy, pool, moments)
        if fresh is None or pooled is None:
            assert fresh is pooled
            return
        assert told(pooled) == told(fresh)
        assert (pooled.candidates, pooled.stopped_by) == (fresh.candidates, fresh.stopped_by)
        assert generated(pooled.usage) == generated(fresh.usage)
        assert generated(pooled.usage) - generated(pooled.continued) == spent(policy)

    asyncio.run(run())


@pytest.mark.parametrize("early_stop", ["off", "exact"])
async def test_asking_for_more_and_more_costs_what_the_most_costs(early_stop: str) -> None:
    """4, then 16, then 64: what 64 cost at once."""
    pool, policy, alone = MemoryPool(), ScriptedPolicy(MOSTLY_RIGHT), ScriptedPolicy(MOSTLY_RIGHT)
    strategy = {"name": "majority_vote", "early_stop": early_stop}
    for samples in (4, 16, 64):
        await solve(policy, strategy | {"samples": samples}, pool=pool, budget={"parallel": 4})
    await solve(alone, strategy | {"samples": 64}, budget={"parallel": 4})
    assert spent(policy) == spent(alone)
    assert len(policy.calls) == (64 if early_stop == "off" else len(alone.calls))


async def test_what_an_early_decision_leaves_out_is_not_counted() -> None:
    """64 agree, and are there: 32 of them decide, as the leader wins a tie."""
    pool, strategy = MemoryPool(), {"name": "majority_vote", "samples": 64}
    await solve(ScriptedPolicy([RIGHT] * 64), strategy | {"early_stop": "off"}, pool=pool)
    policy = ScriptedPolicy([RIGHT] * 64)
    early = await solve(policy, strategy, pool=pool)
    assert (policy.calls, early.stopped_by) == ([], "decided")
    assert generated(early.usage) == generated(early.continued) == 32 * 11


async def test_fewer_are_counted_where_fewer_are_asked_for() -> None:
    """Two after six: two are taken up, and told as if they were being written."""
    pool = MemoryPool()
    await solve(ScriptedPolicy(TEXTS), {**ALL, "samples": 6}, pool=pool)
    policy = ScriptedPolicy(TEXTS)
    two = await solve(policy, {**ALL, "samples": 2}, pool=pool)
    fresh = await solve(ScriptedPolicy(TEXTS), {**ALL, "samples": 2})
    assert policy.calls == []
    assert generated(two.usage) == generated(two.continued) == 22
    assert told(two) == told(fresh)
    assert two.candidates == fresh.candidates


async def test_two_searches_at_once_leave_one_sample_at_each_place() -> None:
    """Either's; a third search generates nothing."""
    pool, rng = MemoryPool(), random.Random(1)
    policies = [Restless(rng=rng, pause=lambda: rng.choice([0, 1e-4])) for _ in range(3)]
    asked = {**ALL, "samples": 8}
    both = await asyncio.gather(*(solve(policy, asked, pool=pool) for policy in policies[:2]))
    third = await solve(policies[2], asked, pool=pool)
    written = {event.node: {found[event.node][-1] for found in map(told, both)} for event in ended(third)}
    assert policies[2].calls == []
    assert all(event in written[event.node] for event in ended(third))
    assert len(written) == 8


async def test_another_strategy_goes_on_from_the_same_samples() -> None:
    """A vote, then the best by its scores."""
    pool, policy, scorer = MemoryPool(), ScriptedPolicy(TEXTS), ScriptedScorer(SCORES)
    await solve(ScriptedPolicy(TEXTS), {**ALL, "samples": 6}, pool=pool)
    strategy = {"name": "best_of_n", "samples": 6, "early_stop": "off"}
    best = await solve(policy, strategy, pool=pool, scorer=scorer, score={"select": "best"})
    assert policy.calls == []
    assert best.choices[0].text == RIGHT
    assert best.continued is not None
    assert (best.continued.reward.submitted, best.usage.reward.generated) == (0, len(scorer.asked))


async def test_what_was_cut_off_is_written_on_before_a_new_index_is_drawn() -> None:
    """Six of eleven tokens were there when the deadline struck: five are new, then come the others."""
    pauses = iter([0.0] * 6 + [60.0] * 9)
    slow, pool = ScriptedPolicy(TEXTS, pause=lambda: next(pauses)), MemoryPool()
    await solve(slow, {"name": "sample"}, pool=pool, deadline_s=0.1)
    policy = ScriptedPolicy(TEXTS)
    more = await solve(policy, {**ALL, "samples": 3}, pool=pool, budget={"parallel": 1})
    assert [bill.generated for bill in policy.bills] == [5, 11, 11]
    assert generated(more.continued) == 6


async def test_what_was_lost_in_cutting_off_is_not_counted_again() -> None:
    """Two tokens that nobody has seen were paid by the search that was cut off; the next one knows nothing of them."""
    pauses, pool = iter([0.0] * 6 + [60.0] * 9), MemoryPool()
    cut_off = await solve(Slow(TEXTS, pause=lambda: next(pauses)), {"name": "sample"}, pool=pool, deadline_s=0.1)
    assert generated(cut_off.usage) == 8
    policy = ScriptedPolicy(TEXTS)
    whole = await solve(policy, {"name": "sample"}, pool=pool, budget={"policy_tokens": 11})
    assert (spent(policy), generated(whole.continued), whole.choices[0].text) == (5, 6, RIGHT)


async def test_greedy_and_shorter_candidates_are_no_samples() -> None:
    """What was decoded at another temperature is not kept; under a smaller cap a sample ends earlier."""
    pool = MemoryPool()
    await solve(ScriptedPolicy(TEXTS), {"name": "greedy"}, pool=pool)
    assert pool.values == {}
    await solve(ScriptedPolicy(TEXTS), {"name": "sample"}, pool=pool)
    short = await solve(ScriptedPolicy(TEXTS), {"name": "sample"}, pool=pool, budget={"policy_tokens": 4})
    assert (short.choices[0].tokens, short.choices[0].finish_reason, short.continued) == (4, "length", None)
    assert pool.texts() == {0: (RIGHT, True)}


@pytest.mark.parametrize(
    "asked",
    [
        {"sampling": {"stop": ["zzz"]}},
        {"sampling": {"presence_penalty": 1.0}},
        {"constraint": {"form": "regex", "text": ".*"}},
        {"score": {"source": "mean_logprob"}, "strategy": {"name": "best_of_n", "samples": 1}},
    ],
)
async def test_what_the_engine_minds_within_one_request_is_not_gone_on_with(asked: dict[str, Any]) -> None:
    """A candidate that was cut off is then drawn anew; one that had ended is kept all the same."""
    strategy, pool = asked.pop("strategy", {"name": "sample"}), MemoryPool()
    pauses = iter([0.0] * 6 + [60.0] * 9)
    await solve(ScriptedPolicy(TEXTS, pause=lambda: next(pauses)), strategy, pool=pool, deadline_s=0.1, **asked)
    again, third = ScriptedPolicy(TEXTS), ScriptedPolicy(TEXTS)
    assert (await solve(again, strategy, pool=pool, **asked)).continued is None
    assert spent(again) == 11
    whole = await solve(third, strategy, pool=pool, **asked)
    assert (spent(third), generated(whole.continued)) == (0, 11)


async def test_its_trace_can_be_replayed_and_continued() -> None:
    """What the pool has paid is there as what an earlier run has paid."""
    pool = MemoryPool()
    await solve(ScriptedPolicy(TEXTS), {**ALL, "samples": 2}, pool=pool)
    three = await solve(ScriptedPolicy(TEXTS), {**ALL, "samples": 3}, pool=pool)
    again = replay(records(three))
    assert again == three.model_copy(update={"trace": None, "seconds": again.seconds})
    begun = records(three)[0]
    assert isinstance(begun, Begun)
    policy = ScriptedPolicy(TEXTS)
    four = await solve(policy, {**ALL, "samples": 4}, past=past_of(records(three), begun.request))
    assert len(policy.calls) == 1
    assert generated(four.continued) == 33


async def test_who_looks_on_sees_the_whole_text() -> None:
    """Although nothing is being written."""
    pool = MemoryPool()
    await solve(ScriptedPolicy(TEXTS), {"name": "sample"}, pool=pool)
    watch = Watch(Interest(text=True))
    searching = asyncio.create_task(solve(ScriptedPolicy(TEXTS), {"name": "sample"}, pool=pool, watch=watch))
    seen = [progress.text async for progress in watch.deliveries(searching)]
    await searching
    assert "".join(seen) == RIGHT


async def test_a_search_that_fails_keeps_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers' reader is gone for a while: the solution is there all the same, and only has to be read."""
    pool, policy = MemoryPool(), ScriptedPolicy(TEXTS)

    async def gone(self: BoxedReader, solution: str) -> None:
        raise MullError("the reader is gone")

    with monkeypatch.context() as patched:
        patched.setattr(BoxedReader, "read", gone)
        with pytest.raises(MullError, match="the reader is gone"):
            await solve(ScriptedPolicy(TEXTS), {"name": "sample"}, pool=pool)
    assert pool.texts() == {0: (RIGHT, False)}
    assert (await solve(policy, {"name": "sample"}, pool=pool)).choices[0].answer == "2"
    assert policy.calls == []
