"""When Redis is left alone, and how it is asked whether it is back."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest

from service import redis_breaker
from service.redis_breaker import Breaker


class Ill:
    """A server that answers the `cured`-th probe; `pauses` are those before the probes, `at` is the time."""

    def __init__(self, cured: int) -> None:
        self.cured = cured
        self.pauses: list[float] = []
        self.at = 1000.0

    async def probe(self) -> bool:
        return len(self.pauses) >= self.cured

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def ill(monkeypatch: pytest.MonkeyPatch) -> Ill:
    """A server that comes back after eight probes, without any time going by."""
    made = Ill(8)
    rest = {"create_task": asyncio.create_task, "gather": asyncio.gather}
    monkeypatch.setattr(redis_breaker, "asyncio", SimpleNamespace(sleep=made.sleep, **rest))
    monkeypatch.setattr(redis_breaker, "time", SimpleNamespace(monotonic=lambda: made.at))
    return made


async def healed(breaker: Breaker) -> None:
    """Wait until it is closed."""
    for _ in range(100):
        await asyncio.sleep(0)
    assert not breaker.open


def fail(breaker: Breaker) -> None:
    """Fail a command that was sent just now."""
    breaker.failed("gone", breaker.failures)


async def test_one_failure_is_no_outage(ill: Ill) -> None:
    """Nor are two with an answer between them, nor ten commands that were sent before the first one failed."""
    breaker = Breaker(ill.probe)
    for _ in range(3):
        fail(breaker)
        breaker.answered()
    for _ in range(10):
        breaker.failed("gone", 0)
    assert not breaker.open
    fail(breaker)
    assert breaker.open
    await breaker.aclose()


async def test_pauses_grow_to_a_limit_and_are_never_alike(ill: Ill, caplog: pytest.LogCaptureFixture) -> None:
    """Many processes that lost Redis at one moment ask it at many."""
    breaker = Breaker(ill.probe)
    fail(breaker)
    fail(breaker)
    await healed(breaker)
    whole = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert all(most / 2 <= pause <= most for pause, most in zip(ill.pauses, whole, strict=True))
    assert all(one != other for one, other in itertools.pairwise(ill.pauses[5:]))
    assert [r.getMessage() for r in caplog.records] == [
        "Redis does not answer (gone): going on without it",
        "Redis answers again",
    ]


@pytest.mark.parametrize(("later_s", "first_s"), [(1, 2.0), (11, 0.1)])
async def test_one_that_is_lost_again_at_once_is_left_alone_for_longer(ill: Ill, later_s: int, first_s: float) -> None:
    """What comes and goes is no help; when it has stayed for a while, all is forgotten."""
    breaker = Breaker(ill.probe)
    fail(breaker)
    fail(breaker)
    await healed(breaker)
    ill.at += later_s
    ill.pauses.clear()
    ill.cured = 1
    fail(breaker)
    fail(breaker)
    await healed(breaker)
    (pause,) = ill.pauses
    assert first_s / 2 <= pause <= first_s
