"""Up and down: one stack per state folder, in the foreground or behind, and nothing left of it afterwards."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service.errors import StackError
from service.settings import Settings
from service.settings_file import is_override, save_settings
from service.stack.engine import Profile
from service.stack.plan import plan_stack
from service.stack.processes import Pid
from service.stack.state import State, StateDir
from service.stack.supervisor import Say, Supervisor, stop_parts

STOP_MARGIN_S = 30
"""Longest that stopping may take beyond what each part has for itself."""


def run_stack(settings: Settings, *, profile: Profile, say: Say, on_ready: Callable[[State], None]) -> None:
    """Start the stack and keep it up until SIGINT, SIGTERM or SIGHUP; `on_ready` is called once it can answer.

    Raises `StackError` if one runs already or a part does not start. Leaves no process behind.
    """
    state_dir = StateDir(settings.state_dir)
    state_dir.create()
    with state_dir.lock() as mine:
        if not mine:
            raise already_up(state_dir)
        if left := state_dir.load():
            say("An earlier `mull up` ended without stopping what it had started: cleaning up.")
            _clean(left, state_dir)
        scratch = Path(tempfile.mkdtemp(prefix="mull-"))  # short: the path of a socket has at most 107 bytes
        state = State(Pid.of(os.getpid()), "", str(scratch))
        try:
            plan = plan_stack(settings, profile=profile, state_dir=state_dir, scratch=scratch)
            state.url = plan.url
            state_dir.save(state)
            state_dir.write_token()
            save_settings(plan.settings.model_copy(update={"state_dir": state_dir.path}), state_dir.settings)
            for log in state_dir.logs.glob("*.log"):
                if log != _own_log(state_dir):
                    log.unlink()
            _forget_ray_logs(state_dir).symlink_to(scratch / "session_latest" / "logs")
            asyncio.run(_supervise(Supervisor(plan, state, state_dir, say), state, on_ready))
        finally:
            _clean(state, state_dir)


def start_detached(settings: Settings, *, profile: Profile, say: Say) -> State:
    """Start the stack behind this process, which may end, and return once it can answer.

    Raises `StackError` if one runs already or a part does not start.
    """
    state_dir = StateDir(settings.state_dir)
    state_dir.create()
    with state_dir.lock() as free:
        if not free:
            raise already_up(state_dir)
    requested, log = state_dir.path / "requested.yaml", _own_log(state_dir)
    save_settings(settings, requested)
    environment = {name: value for name, value in os.environ.items() if not is_override(name)}
    with log.open("wb") as output, log.open("r") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.stack", str(requested), profile],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                _pass_on(lines.readlines(), say)
                state = state_dir.load()
                if state is not None and state.ready and state.supervisor.pid == process.pid:
                    return state
                time.sleep(0.1)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            requested.unlink(missing_ok=True)
        raise StackError("".join(lines.readlines()).strip() or f"The stack did not start; see {log}.")


def stop_stack(folder: Path, say: Say) -> bool:
    """Stop the stack of a state folder, whether or not its `mull up` still lives; return whether there was one."""
    state_dir = StateDir(folder)
    state = state_dir.load()
    if state is None:
        return False
    names = ", ".join(part.name for part in reversed(state.parts))
    say(f"Stopping {names or 'what was starting'}")
    if state.supervisor.alive():
        os.kill(state.supervisor.pid, signal.SIGTERM)
    with state_dir.lock(wait_s=sum(part.grace_s for part in state.parts) + STOP_MARGIN_S) as mine:
        if not mine:
            # It hangs. Its parts are stopped below, from what it wrote down.
            os.kill(state.supervisor.pid, signal.SIGKILL)
        if left := state_dir.load():
            _clean(left, state_dir)
    return True


def already_up(state_dir: StateDir) -> StackError:
    """Return the error that says where the running stack is."""
    state = state_dir.load()
    where = f" on {state.url}" if state and state.url else ""
    return StackError(f"Mull already runs{where} (state in {state_dir.path}).", hint="`mull down` stops it.")


async def _supervise(supervisor: Supervisor, state: State, on_ready: Callable[[State], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    await supervisor.run(stopped, lambda: on_ready(state))


def _clean(state: State, state_dir: StateDir) -> None:
    """Stop every part that still runs, keep Ray's logs, and remove the rest."""
    stop_parts(state)
    scratch = Path(state.scratch)
    if (ray_logs := scratch / "session_latest" / "logs").is_dir():
        shutil.copytree(ray_logs, _forget_ray_logs(state_dir), ignore=_sockets)
    shutil.rmtree(scratch, ignore_errors=True)
    state_dir.clear()


def _forget_ray_logs(state_dir: StateDir) -> Path:
    """Return where Ray's logs are found: a link while it runs, a copy afterwards. Removes what is there."""
    path = state_dir.logs / "ray"
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    return path


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not ((path := Path(folder, name)).is_file() or path.is_dir())]


def _own_log(state_dir: StateDir) -> Path:
    return state_dir.logs / "mull.log"


def _pass_on(lines: list[str], say: Say) -> None:
    for line in lines:
        say(line.rstrip("\n"))
