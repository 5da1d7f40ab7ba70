"""Processes that were started earlier, perhaps by a `mull up` that is dead by now.

Every part leads a session of its own, which its descendants cannot be torn from by a crash of their parents: Ray's
workers change their process group and are adopted by init, but stay in the session.
"""

import os
import signal
import time
from dataclasses import dataclass

import psutil

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Pid:
    """One process for all time: ids are reused, but not with the same start (seconds since the epoch)."""

    pid: int
    create_time: float

    @classmethod
    def of(cls, pid: int) -> "Pid":
        """Return the identity of a live process; raises `psutil.NoSuchProcess`."""
        return cls(pid, psutil.Process(pid).create_time())

    def alive(self) -> bool:
        """Tell whether this very process still runs; one that is dead but not yet collected does not."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.create_time and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def session(leader: Pid) -> list[Pid]:
    """Return the live processes of the session that `leader` founded, whether or not it is alive."""
    try:
        if psutil.Process(leader.pid).create_time() != leader.create_time:
            # The kernel does not give an id away while a session bears it: ours is empty.
            return []
    except psutil.NoSuchProcess:
        pass
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader.pid:
                found.append(Pid.of(pid))
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return [process for process in found if process.alive()]


def stop(leader: Pid, grace_s: float) -> None:
    """Ask the leader to end (all of its session, if it is gone), wait, and kill what is left after `grace_s`."""
    _signal([leader] if leader.alive() else session(leader), signal.SIGTERM)
    until = time.monotonic() + grace_s
    while leader.alive() and time.monotonic() < until:
        time.sleep(POLL_S)
    _signal(session(leader), signal.SIGTERM)
    while (left := session(leader)) and time.monotonic() < until:
        time.sleep(POLL_S)
    _signal(left, signal.SIGKILL)
    while any(process.alive() for process in left):
        time.sleep(POLL_S)


def _signal(processes: list[Pid], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue
