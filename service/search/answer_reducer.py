"""The parent's end of the answer process: one question at a time over its pipe, each with a deadline."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from service.errors import MullError

_COMMAND = (sys.executable, "-m", "service.search.answer_process")
_IMPORT_ROOT = str(Path(__file__).resolve().parents[2])

_BROKEN = (
    OSError,  # no such command, a broken pipe, TimeoutError
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    ValueError,
)

Reply = str | bool | None
Question = tuple[str, ...]
"""The operation and its texts: `("key", tidied)` or `("verify", gold, answer)`."""


class AnswerReducer:
    """A parser of answers in a process of its own, started by the first question and replaced when it fails.

    `deadline_s` is the time one question may take once it is its turn; `start_s` the time the process may take to
    start, importing sympy included. The last `remembered` replies are kept, those of failures too, so that a text
    never gets two keys. Belongs to one event loop.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 5.0,
        start_s: float = 60.0,
        remembered: int = 10_000,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._deadline_s = deadline_s
        self._start_s = start_s
        self._remembered = remembered
        self._command = command
        self._replies: OrderedDict[Question, Reply] = OrderedDict()
        self._pending: dict[Question, asyncio.Task[Reply]] = {}
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._closed = False

    async def ask(self, *question: str) -> Reply:
        """Return the reply, or `None` where the process hung, died or could not read the text.

        Equal questions are asked once. A caller may be cancelled at any time: its question runs on for the cache, so
        that the pipe stays in step. Raises `MullError` where the process does not start.
        """
        if self._closed:
            raise RuntimeError("This AnswerReducer is closed: build a new one.")
        if question in self._replies:
            self._replies.move_to_end(question)
            return self._replies[question]
        task = self._pending.get(question)
        if task is None:
            task = asyncio.create_task(self._reply(question))
            self._pending[question] = task
            task.add_done_callback(lambda _: self._pending.pop(question, None))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """End the process; callers that still wait are cancelled."""
        self._closed = True
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._kill()

    async def _reply(self, question: Question) -> Reply:
        async with self._turn:
            process = self._process
            if process is None or process.returncode is not None:
                process = await self._start()
            try:
                async with asyncio.timeout(self._deadline_s):
                    reply = await _exchange(process, question)
            except _BROKEN:
                await self._kill()
                reply = None
        self._replies[question] = reply
        if len(self._replies) > self._remembered:
            self._replies.popitem(last=False)
        return reply

    async def _start(self) -> Process:
        path = os.pathsep.join(filter(None, (_IMPORT_ROOT, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, env=environment
            )
            async with asyncio.timeout(self._start_s):
                await _read(self._process)
        except _BROKEN as error:
            await self._kill()
            raise MullError(
                "The process that parses answers did not start.",
                hint=f"Run `{' '.join(self._command)}` with an empty input to see why.",
            ) from error
        return self._process

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # Not `wait()`: it never returns where the process wrote more than the pipe's reader takes.
            await process.communicate()


async def _exchange(process: Process, question: Question) -> Reply:
    assert process.stdin is not None
    process.stdin.write(json.dumps(question).encode() + b"\n")
    await process.stdin.drain()
    return await _read(process)


async def _read(process: Process) -> Reply:
    assert process.stdout is not None
    line = await process.stdout.readuntil(b"\n")
    reply: Reply = json.loads(line)
    return reply
