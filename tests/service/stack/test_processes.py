import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from service.stack.processes import Pid, session, stop

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process as the stack does, in a session of its own; nothing survives the test."""
    started: list[Pid] = []

    def run(*command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
        started.append(Pid.of(process.pid))
        return process

    yield run
    for leader in started:
        for process in session(leader):
            os.kill(process.pid, signal.SIGKILL)


def test_stop_ends_leader_and_descendants(start: Start) -> None:
    """A shell and what it started in the background are both gone."""
    leader = Pid.of(start("sh", "-c", "sleep 60 & sleep 60").pid)
    _wait(lambda: len(session(leader)) >= 3)
    stop(leader, grace_s=5)
    assert session(leader) == []


def test_stop_kills_what_ignores_the_request(start: Start) -> None:
    """A process deaf to SIGTERM gets SIGKILL when its grace is over."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = start(sys.executable, "-c", deaf)
    assert process.stdout is not None
    process.stdout.readline()
    leader = Pid.of(process.pid)
    stop(leader, grace_s=0.2)
    assert not leader.alive()


def test_orphans_of_a_killed_leader_are_found(start: Start) -> None:
    """Children that init has adopted, in a process group of their own, still belong to the session."""
    orphan = "import os, time; os.setpgid(0, 0); time.sleep(60)"
    process = start("sh", "-c", f'"{sys.executable}" -c "{orphan}" & sleep 60')
    leader = Pid.of(process.pid)
    _wait(lambda: any(os.getpgid(p.pid) == p.pid for p in session(leader) if p != leader))
    process.kill()
    process.wait()
    assert session(leader)
    stop(leader, grace_s=5)
    assert session(leader) == []


def test_recycled_id_is_not_ours(start: Start) -> None:
    """A process that got the id of one of ours later is left alone."""
    stranger = Pid.of(start("sleep", "60").pid)
    ours = Pid(stranger.pid, stranger.create_time - 100)
    assert session(ours) == []
    stop(ours, grace_s=0.1)
    assert stranger.alive()


def test_dead_but_uncollected_is_not_alive(start: Start) -> None:
    """A zombie no longer runs."""
    process = start("true")
    leader = Pid.of(process.pid)
    _wait(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert not leader.alive()
    process.wait()


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
