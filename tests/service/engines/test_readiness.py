"""When an engine of several servers is ready."""

import asyncio

import pytest

from service.engines import readiness
from service.engines.failures import gone
from service.engines.readiness import any_ready
from service.errors import EngineUnavailable


async def works() -> None:
    """Is ready at once."""


async def fails(number: int) -> None:
    await asyncio.sleep(0)
    raise gone(f"policy (server {number} of 2)")


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_one_that_works_is_enough() -> None:
    """What is wrong with the other one is told."""
    (note,) = await any_ready([fails(1), works()])
    assert "server 1 of 2" in note


async def test_one_that_says_nothing_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it does not go on in the background."""
    monkeypatch.setattr(readiness, "OTHERS_WITHIN_S", 0.01)
    before = asyncio.all_tasks()
    assert await any_ready([hangs(), works()]) == ("A server says nothing.",)
    assert asyncio.all_tasks() == before


async def test_where_none_works_all_are_named() -> None:
    """The error is of the first one's kind."""
    with pytest.raises(EngineUnavailable, match=r"server 1 of 2.*server 2 of 2"):
        await any_ready([fails(1), fails(2)])


async def test_a_mistake_of_ours_is_no_server_that_is_down() -> None:
    """It is raised as it is."""

    async def breaks() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        await any_ready([breaks(), works()])
