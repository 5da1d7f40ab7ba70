"""What makes Serve replace a worker."""

import asyncio

import pytest

from service import worker_health
from service.search.answer_readers import AnswerReaders
from service.search.answer_spec import AnswerSpec
from service.worker_health import AnswerCheck, Unhealthy
from strategies.protocol import Answer


class Reader:
    """Reads what `reads` says; `None` never comes."""

    def __init__(self, reads: list[str] | None) -> None:
        self._reads = reads

    async def read(self, _: str) -> Answer | None:
        """Return the next key."""
        if self._reads is None:
            await asyncio.Event().wait()
        assert self._reads is not None
        return Answer("x", self._reads.pop(0))


async def test_worker_that_has_read_nothing_is_healthy() -> None:
    """The process that parses answers starts with the first one: a check does not start it."""
    await AnswerCheck().check()


async def test_answers_that_are_read_are_health() -> None:
    """With the real process: two ways to write a sum have one key, again and again."""
    readers, check = AnswerReaders(), AnswerCheck()
    check.uses(AnswerSpec(), readers.reader(AnswerSpec()))
    await check.check()
    await check.check()
    await readers.aclose()


async def test_process_that_does_not_parse_is_unhealthy() -> None:
    """Then every text is its own key, and votes are wrong without anybody noticing."""
    check = AnswerCheck()
    check.uses(AnswerSpec(), Reader(["x+2", "2+x"]))
    with pytest.raises(Unhealthy, match="hung or died"):
        await check.check()


async def test_process_that_hangs_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bound."""
    monkeypatch.setattr(worker_health, "ANSWER_LIMIT_S", 0.01)
    check = AnswerCheck()
    check.uses(AnswerSpec(), Reader(None))
    with pytest.raises(Unhealthy, match="no sum was read"):
        await check.check()


async def test_other_kinds_of_answers_need_no_process() -> None:
    """A worker that reads numbers only is not asked for sums."""
    check = AnswerCheck()
    check.uses(AnswerSpec(kind="number"), Reader(None))
    await check.check()
