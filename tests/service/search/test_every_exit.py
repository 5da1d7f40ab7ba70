"""Every strategy on every way out of a search: nothing that it began outlives it, and all that it cost is counted."""

import asyncio

import pytest
from every_strategy import EARLY, EVERY
from exits import FailsAtThird, FailsToScore, Slow, World
from pydantic import TypeAdapter

from service.errors import EngineUnavailable
from service.search.scripted import BoxedReader, SeededPolicy, SeededScorer
from strategies.protocol import Strategy
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec

pytestmark = pytest.mark.timeout(20)

MANY = sorted(EVERY.keys() - {"greedy", "sample"} - EARLY)
"""Those that ask for more than one stream, and do not keep back what they save by stopping early."""
SCORED = [name for name in MANY if not name.startswith("majority_vote")]


class Slowly(Slow, SeededPolicy):
    """Needs a moment to say what a stream that was stopped has cost."""


class Fails(FailsAtThird, SeededPolicy):
    """Its third stream fails at once."""


class FailsSeeded(FailsToScore, SeededScorer):
    """Its third call fails."""


def built(name: str) -> Strategy:
    return TypeAdapter[StrategySpec](StrategySpec).validate_python(EVERY[name]).build(ScoreSpec(), seed=1)


def world(policy: type[SeededPolicy] = Slowly, scorer: type[SeededScorer] = SeededScorer) -> World:
    return World(policy(pause=lambda: 0.001, depth=5), scorer(pause=lambda: 0.002), BoxedReader())


@pytest.mark.parametrize("name", sorted(EVERY.keys() - EARLY))
async def test_its_own_end(name: str) -> None:
    """It comes to an end, and nothing is left."""
    here = world()
    search = here.driver(built(name))
    assert await search.run() == "completed"
    here.check(search)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("after_s", [0.003, 0.02])
async def test_its_deadline(name: str, after_s: float) -> None:
    """It strikes while streams run and scores are waited for."""
    here = world()
    search = here.driver(built(name), deadline_s=after_s)
    assert await search.run() in {"deadline", "completed"}
    here.check(search)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("after_s", [0.0, 0.003, 0.02])
async def test_its_client_goes(name: str, after_s: float) -> None:
    """Cancelled at any moment."""
    here = world()
    running = asyncio.create_task((search := here.driver(built(name))).run())
    await asyncio.sleep(after_s)
    if running.done():
        pytest.skip("it was over already")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    here.tasks.discard(running)
    here.check(search)


@pytest.mark.parametrize("name", MANY)
async def test_its_budget(name: str) -> None:
    """The policy's tokens run out, some of them reserved for what was never written."""
    here = world()
    search = here.driver(built(name), policy_tokens=15)
    assert await search.run() == "policy_tokens"
    here.check(search)


@pytest.mark.parametrize("name", MANY)
async def test_its_policy_fails(name: str) -> None:
    """The error is raised as it was, and what cannot be known is charged as reserved."""
    here = world(policy=Fails)
    search = here.driver(built(name))
    with pytest.raises(EngineUnavailable, match="policy engine is gone"):
        await search.run()
    here.check(search, engine_failed=True)


@pytest.mark.parametrize("name", SCORED)
async def test_its_reward_model_fails(name: str) -> None:
    """No score of 0 stands for one that failed."""
    here = world(scorer=FailsSeeded)
    search = here.driver(built(name))
    with pytest.raises(EngineUnavailable, match="reward engine is gone"):
        await search.run()
    here.check(search, engine_failed=True)
