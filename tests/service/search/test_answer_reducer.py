"""The process that parses answers: deadlines, cancellation, crashes, and its end."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable

import psutil
import pytest

from service.errors import MullError
from service.search.answer_reducer import AnswerReducer

_SCRIPTED = """
import json, os, sys, time
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    operation, text = json.loads(line)
    if text == "hang":
        time.sleep(60)
    if text == "die":
        os.abort()
    if text == "babble":
        sys.stdout.write("x" * 1_000_000)
    if text == "slow":
        time.sleep(0.3)
    print(json.dumps(f"{os.getpid()} {text}"), flush=True)
"""

Build = Callable[..., AnswerReducer]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """Build reducers over a scripted process, and close them."""
    built: list[AnswerReducer] = []

    def make(script: str = _SCRIPTED, *, deadline_s: float = 5.0, start_s: float = 20.0) -> AnswerReducer:
        reducer = AnswerReducer(deadline_s=deadline_s, start_s=start_s, command=(sys.executable, "-u", "-c", script))
        built.append(reducer)
        return reducer

    yield make
    for reducer in built:
        await reducer.aclose()


async def _process(reducer: AnswerReducer, text: str) -> int:
    """Return the id of the process that answers `text`."""
    return int(str(await reducer.ask("key", text)).split()[0])


async def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:  # not asked beforehand: it may go between the two questions
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_hung_process_is_killed_and_replaced(build: Build) -> None:
    """A question over its deadline has no reply, and the next one is answered by a new process."""
    reducer = build(deadline_s=0.5)
    first = await _process(reducer, "a")
    assert await reducer.ask("key", "hang") is None
    assert await _process(reducer, "b") != first
    assert await _gone(first)


@pytest.mark.parametrize("text", ["die", "babble"])
async def test_a_process_that_breaks_is_replaced(build: Build, text: str) -> None:
    """A crash or a reply that is none gives no reply, and the next question is answered."""
    reducer = build()
    first = await _process(reducer, "a")
    assert await reducer.ask("key", text) is None
    assert await _process(reducer, "b") != first


async def test_a_process_that_died_idle_costs_no_answer(build: Build) -> None:
    """The death of an idle process is noticed before the next question is given to it."""
    reducer = build()
    first = await _process(reducer, "a")
    os.kill(first, signal.SIGKILL)
    assert await _gone(first)
    await asyncio.sleep(0.1)
    assert await _process(reducer, "b") != first


async def test_a_failure_is_remembered(build: Build) -> None:
    """A text that hung once is not tried again: it never gets two keys."""
    reducer = build(deadline_s=0.5)
    assert await reducer.ask("key", "hang") is None
    start = time.monotonic()
    assert await reducer.ask("key", "hang") is None
    assert time.monotonic() - start < 0.2


async def test_cancelled_callers_leave_the_pipe_in_step(build: Build) -> None:
    """Callers cancelled before, during and after their turn do not shift the replies of the others."""
    reducer = build()
    pid = await _process(reducer, "a")
    slow = asyncio.create_task(reducer.ask("key", "slow"))
    waiting = [asyncio.create_task(reducer.ask("key", f"text {i}")) for i in range(20)]
    await asyncio.sleep(0.1)
    slow.cancel()
    for task in waiting[::2]:
        task.cancel()
    assert await asyncio.gather(*waiting[1::2]) == [f"{pid} text {i}" for i in range(1, 20, 2)]
    assert slow.cancelled()
    assert await reducer.ask("key", "slow") == f"{pid} slow"


async def test_equal_questions_are_asked_once(build: Build) -> None:
    """Sixteen candidates with one answer cost one exchange."""
    reducer = build()
    await reducer.ask("key", "a")
    start = time.monotonic()
    replies = await asyncio.gather(*(reducer.ask("key", "slow") for _ in range(50)))
    assert len(set(replies)) == 1
    assert time.monotonic() - start < 2


async def test_closing_ends_the_process_and_its_callers(build: Build) -> None:
    """After `aclose` nothing runs, nobody waits, and a question is refused."""
    reducer = build()
    pid = await _process(reducer, "a")
    waiting = asyncio.create_task(reducer.ask("key", "hang"))
    await asyncio.sleep(0.1)
    await reducer.aclose()
    assert await _gone(pid)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await reducer.ask("key", "b")


@pytest.mark.parametrize("script", ["raise SystemExit(3)", "import time; time.sleep(60)"])
async def test_a_process_that_does_not_start_is_an_error(build: Build, script: str) -> None:
    """Keys do not silently become worse where the installation is broken."""
    reducer = build(script, start_s=1.0)
    with pytest.raises(MullError, match="did not start"):
        await reducer.ask("key", "a")


async def test_fifty_callers_share_one_real_process() -> None:
    """Fifty different answers at once each get their own key, from one process."""
    reducer = AnswerReducer()
    try:
        keys = await asyncio.gather(*(reducer.ask("key", rf"{i} \times \frac{{1}}{{2}}") for i in range(50)))
        children = [p for p in psutil.Process().children() if "service.search.answer_process" in p.cmdline()]
        assert keys == [str(i // 2) if i % 2 == 0 else f"{i}/2" for i in range(50)]
        assert len(children) == 1
    finally:
        await reducer.aclose()
    assert not children[0].is_running()


async def test_the_real_process_ends_with_its_input_and_loads_no_engine() -> None:
    """A parent that dies leaves nothing behind, and the process stays small."""
    reducer = AnswerReducer()
    await reducer.ask("key", r"\sqrt{2}")
    (child,) = (p for p in psutil.Process().children() if "service.search.answer_process" in p.cmdline())
    assert child.memory_info().rss < 200_000_000
    assert not [m.path for m in child.memory_maps() if "/torch/" in m.path or "/ray/" in m.path]
    process = reducer._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 5) == 0
    await reducer.aclose()
