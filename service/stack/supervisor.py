"""Starts the parts of a plan, keeps them running, and stops them in reverse order."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from service.errors import StackError
from service.settings_file import is_override
from service.stack.plan import Part, Plan
from service.stack.processes import Pid, session, stop
from service.stack.ready import what_is_missing
from service.stack.state import Record, State, StateDir

START_LIMIT_S = 900
"""Longest that one part may take to start: a large model is loaded from a slow disk in it."""
ANSWER_LIMIT_S = 180
LONGEST_BACKOFF_S = 30
LAST_LINES = 15

Say = Callable[[str], None]


class Supervisor:
    """Runs one plan. `say` is told of everything a person at the terminal should know, one line at a time."""

    def __init__(self, plan: Plan, state: State, state_dir: StateDir, say: Say) -> None:
        self._plan = plan
        self._state = state
        self._dir = state_dir
        self._say = say
        inherited = {name: value for name, value in os.environ.items() if not is_override(name)}
        # The effective configuration already holds what the variables said.
        self._environment = inherited | {"MULL_CONFIG": str(state_dir.settings), "PYTHONUNBUFFERED": "1"}
        self._up = {part.name: asyncio.Event() for part in plan.parts}
        self._began = time.monotonic()

    async def run(self, stopped: asyncio.Event, on_ready: Callable[[], None]) -> None:
        """Start everything and keep it up until `stopped` is set; raises `StackError` if the start fails.

        What was started is stopped in any case.
        """
        keepers = [asyncio.create_task(self._keep(part)) for part in self._plan.parts]
        ready = asyncio.create_task(self._announce())
        asked = asyncio.create_task(stopped.wait())
        try:
            await _first_of(ready, asked, *keepers)
            if ready.done() and not asked.done():
                on_ready()
                await _first_of(asked, *keepers)
        finally:
            for task in (*keepers, ready, asked):
                task.cancel()
            await asyncio.gather(*keepers, ready, asked, return_exceptions=True)
            await asyncio.to_thread(stop_parts, self._state)

    async def _announce(self) -> None:
        for up in self._up.values():
            await up.wait()
        try:
            await asyncio.wait_for(self._plan.ready(), ANSWER_LIMIT_S)
        except TimeoutError:
            missing = await what_is_missing(f"{self._plan.url}/readyz")
            raise StackError(
                f"Everything runs, but no answer can be given after {ANSWER_LIMIT_S} s. {missing}".strip(),
                hint=f"The logs in {self._dir.logs} say more.",
            ) from None
        self._tell("answer", "one generation, one score")
        self._state.ready = True
        self._dir.save(self._state)

    async def _keep(self, part: Part) -> None:
        """Start a part, and start it again whenever it dies; only a failure of the first start is raised."""
        for name in part.after:
            await self._up[name].wait()
        process = await self._first_start(part)
        self._tell(part.name, part.url)
        self._up[part.name].set()
        delay = 1
        while True:
            came_up = time.monotonic()
            code = await process.wait()
            self._say(f"{part.name} died ({_exit(code)}): starting it again; its log is {self._log(part)}")
            while True:
                await asyncio.to_thread(stop, self._record(part).process, part.grace_s)
                if time.monotonic() - came_up > LONGEST_BACKOFF_S:
                    delay = 1
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_BACKOFF_S)
                try:
                    process = await self._start(part)
                except StackError as error:
                    self._say(error.message)
                else:
                    break
            self._say(f"{part.name} is back")

    async def _first_start(self, part: Part) -> Process:
        for _ in range(part.tries - 1):
            try:
                return await self._start(part)
            except StackError as error:
                self._say(f"{error.message}\nTrying once more.")
                await asyncio.to_thread(stop, self._record(part).process, part.grace_s)
        return await self._start(part)

    async def _start(self, part: Part) -> Process:
        """Launch a process and wait until it is ready; raises `StackError` with the end of its log if it is not."""
        log = self._log(part)
        environment: Mapping[str, str] = {**self._environment, **part.environment}
        with log.open("ab") as output:
            offset = output.tell()
            process = await asyncio.create_subprocess_exec(
                *part.command, stdin=DEVNULL, stdout=output, stderr=STDOUT, env=environment, start_new_session=True
            )
        try:
            self._state.put(Record(part.name, Pid.of(process.pid), part.url, str(log), part.grace_s, part.metrics))
        except psutil.NoSuchProcess:  # it was dead before we could look
            raise _died(part, await process.wait(), log, offset) from None
        self._dir.save(self._state)
        ready, died = asyncio.ensure_future(part.ready()), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, died}, timeout=START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                raise _died(part, died.result(), log, offset)
            if not ready.done():
                raise StackError(f"{part.name} is not ready after {START_LIMIT_S} s.\n{_end(log, offset)}")
            ready.result()
        finally:
            ready.cancel()
            died.cancel()
        return process

    def _record(self, part: Part) -> Record:
        return self._state.part(part.name)

    def _log(self, part: Part) -> Path:
        return self._dir.logs / f"{part.name}.log"

    def _tell(self, name: str, what: str) -> None:
        self._say(f"{name:<24} ready after {time.monotonic() - self._began:5.1f} s   {what}")


def stop_parts(state: State) -> list[Record]:
    """Stop what a state names, last started first; return the parts of which something was running."""
    running = [part for part in state.parts if session(part.process)]
    for part in reversed(running):
        stop(part.process, part.grace_s)
    return running


async def _first_of(*tasks: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    """Return when one of the tasks ends, and raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _died(part: Part, code: int, log: Path, offset: int) -> StackError:
    return StackError(f"{part.name} stopped while starting ({_exit(code)}).\n{_end(log, offset)}")


def _exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _end(log: Path, offset: int) -> str:
    """Return where the log is, and its last lines since `offset`."""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join([f"Its log is {log}; it ends:", *(f"  {line}" for line in lines)])
