"""Up and down over what earlier runs left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StackError
from service.settings import Settings
from service.stack.lifecycle import run_stack, stop_stack
from service.stack.processes import Pid, session
from service.stack.state import Record, State, StateDir

DEAD = Pid(2**22 - 1, 0.0)


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    """An empty state folder."""
    state_dir = StateDir(tmp_path / "state")
    state_dir.create()
    return state_dir


@pytest.fixture
def sleeper() -> Iterator[Pid]:
    """A process like those that a crashed `mull up` leaves behind."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield Pid.of(process.pid)
    process.kill()
    process.wait()


def leave_behind(state_dir: StateDir, part: Pid, scratch: Path, supervisor: Pid = DEAD) -> None:
    scratch.mkdir()
    record = Record("policy", part, "http://127.0.0.1:1", "log", 10)
    state_dir.save(State(supervisor, "http://127.0.0.1:8080", str(scratch), True, [record]))


def settings_for(state_dir: StateDir, **more: object) -> Settings:
    return Settings.model_validate(
        {
            "policies": {"p": {"model": "m", "url": "http://127.0.0.1:1"}},
            "models": {"m": {"policy": "p"}},
            "state_dir": str(state_dir.path),
            **more,
        }
    )


def test_down_cleans_up_after_a_crash(state_dir: StateDir, sleeper: Pid, tmp_path: Path) -> None:
    """With the supervisor dead, its parts are stopped from what it wrote down, and its files are gone."""
    leave_behind(state_dir, sleeper, tmp_path / "scratch")
    state_dir.write_token()
    assert stop_stack(state_dir.path, say=lambda line: None)
    assert session(sleeper) == []
    assert not (tmp_path / "scratch").exists()
    assert not state_dir.ray_token.exists()
    assert state_dir.load() is None


def test_next_up_cleans_up_after_a_crash(state_dir: StateDir, sleeper: Pid, tmp_path: Path) -> None:
    """What an earlier run left is stopped before anything new is started, and that is said."""
    leave_behind(state_dir, sleeper, tmp_path / "scratch")
    said: list[str] = []
    nowhere = {"gateway": {"host": "256.0.0.1"}, "doors": {"open": True}}
    taken = settings_for(state_dir, **nowhere, ray={"address": "x:1"}, redis={"enabled": False})
    with pytest.raises(StackError, match="Port"):  # after the cleaning, which is what we look at
        run_stack(taken, profile="cpu", say=said.append, on_ready=lambda state: None)
    assert "cleaning up" in said[0]
    assert session(sleeper) == []


def test_down_without_anything_running(tmp_path: Path) -> None:
    """There is nothing to stop where nothing was ever started."""
    assert not stop_stack(tmp_path / "never", say=lambda line: None)


def test_damaged_state_is_named(state_dir: StateDir) -> None:
    """A state file that cannot be read gives its path and what to do, and no traceback."""
    (state_dir.path / "state.json").write_text('{"parts": [{}]}')
    with pytest.raises(StackError, match=r"state\.json cannot be read"):
        stop_stack(state_dir.path, say=print)


def test_second_up_names_the_first(state_dir: StateDir, sleeper: Pid, tmp_path: Path) -> None:
    """While one stack holds the folder, another is refused with its URL, and the first is not touched."""
    leave_behind(state_dir, sleeper, tmp_path / "scratch", supervisor=Pid.of(os.getpid()))
    with state_dir.lock() as mine, pytest.raises(StackError, match=r"already runs on http://127\.0\.0\.1:8080"):
        assert mine
        run_stack(settings_for(state_dir), profile="cpu", say=print, on_ready=lambda state: None)
    assert sleeper.alive()


def test_lock_is_dropped_by_a_process_that_is_killed(state_dir: StateDir) -> None:
    """A crash does not keep the next run out."""
    holder = (
        "import sys, time; from pathlib import Path; from service.stack.state import StateDir\n"
        "with StateDir(Path(sys.argv[1])).lock() as mine: print(mine, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(state_dir.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with state_dir.lock() as mine:
        assert not mine
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with state_dir.lock(wait_s=1) as mine:
        assert mine


def test_down_asks_a_living_supervisor(state_dir: StateDir, sleeper: Pid, tmp_path: Path) -> None:
    """A supervisor that lives is asked to stop, not bypassed: here it takes its time, and has it."""
    ends = (
        "import signal, sys, time; from pathlib import Path; from service.stack.state import StateDir\n"
        "state_dir = StateDir(Path(sys.argv[1]))\n"
        "with state_dir.lock():\n"
        "    print(flush=True); signal.sigwait({signal.SIGTERM}); time.sleep(0.5); (state_dir.path / 'asked').touch()"
    )
    command = [sys.executable, "-c", f"import signal; signal.pthread_sigmask(0, {{15}})\n{ends}", str(state_dir.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    leave_behind(state_dir, sleeper, tmp_path / "scratch", supervisor=Pid.of(process.pid))
    began = time.monotonic()
    assert stop_stack(state_dir.path, say=lambda line: None)
    assert time.monotonic() - began >= 0.5
    assert (state_dir.path / "asked").exists()
    process.communicate()


FOREGROUND = """
import sys
from service.settings import Settings
from service.stack import lifecycle
from service.stack.plan import Part, Plan

async def at_once(): pass

def plan(settings, **_):
    parts = [Part("a", ["sh", "-c", "sleep 60 & sleep 60"], "url", at_once)]
    return Plan(parts, settings, "http://nowhere", at_once)

lifecycle.plan_stack = plan
settings = Settings.model_validate(
    {"policies": {"p": {"model": "m"}}, "models": {"m": {"policy": "p"}}, "state_dir": sys.argv[1]}
)
lifecycle.run_stack(settings, profile="cpu", say=print, on_ready=lambda state: print("READY", flush=True))
print("down")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything_and_ends_well(state_dir: StateDir, number: signal.Signals) -> None:
    """Ctrl-C, `kill` and a closed terminal all end in nothing running, nothing on disk but logs, and exit code 0."""
    command = [sys.executable, "-c", FOREGROUND, str(state_dir.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "READY" not in process.stdout.readline():
        assert process.poll() is None
    state = state_dir.load()
    assert state is not None
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert rest.endswith("down\n")
    assert process.returncode == 0
    assert session(state.part("a").process) == []
    assert not Path(state.scratch).exists()
    assert sorted(path.name for path in state_dir.path.iterdir()) == ["lock", "logs"]
