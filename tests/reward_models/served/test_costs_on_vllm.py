"""What a score has cost is what vLLM itself has counted, whatever the family and however the score has ended."""

import asyncio
from typing import Any

import pytest
from solutions import SOLUTIONS

from service.engines.fleet import Fleet
from service.engines.probe import probe_reward
from service.engines.reward import VllmScorer
from service.search.ports import Bill

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

QUESTION, STEPS = SOLUTIONS["long steps"]


async def test_what_was_read_before_is_cached_where_the_engine_can(served: Any, scorer: VllmScorer) -> None:
    """Label tokens: as billed. Classes: as vLLM counts, which does not tell it to us. Token by token: never."""
    steps = served.solution(STEPS)
    await scorer.score(QUESTION, steps, 0, Bill())
    before, bill = await served.counted(), Bill()
    await scorer.score(QUESTION, steps, len(steps) - 1, bill)
    after = await served.counted()
    assert bill.prompt == after.prompt - before.prompt
    hits = after.cached - before.cached
    if served.caches:
        assert hits > bill.prompt // 2
        assert bill.cached == (hits if served.generates else None)
    else:
        assert bill.cached == hits == 0


async def test_the_bills_of_cancelled_scores_are_the_engines_own_count(served: Any, scorer: VllmScorer) -> None:
    """A score that is given up was read, or was not; where the engine cannot tell which, the bill says so."""
    steps = served.solution(STEPS)
    each = await scorer.price(QUESTION, steps, 0)
    before = await served.counted()
    bills = [Bill() for _ in range(24)]
    tasks = [asyncio.create_task(scorer.score(QUESTION, steps, 0, bill)) for bill in bills]
    for task in tasks[::2]:
        await asyncio.sleep(0.005)
        task.cancel()
    await asyncio.wait(tasks)
    after = await served.counted()
    told, unknown = sum(bill.prompt for bill in bills), sum(not bill.exact for bill in bills)
    assert any(task.cancelled() for task in tasks)
    assert told <= after.prompt - before.prompt <= told + unknown * each
    assert sum(bill.generated for bill in bills) == after.generated - before.generated
    assert unknown <= (0 if served.generates else sum(task.cancelled() for task in tasks))


async def test_the_doctor_finds_nothing_that_is_lacking(served: Any) -> None:
    """Each family is tried for what it can do."""
    async with Fleet(served.settings) as client:
        findings = await probe_reward(served.settings, client)
    assert [finding for finding in findings if not finding.ok] == []
