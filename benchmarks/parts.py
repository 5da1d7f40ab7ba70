"""What the parts of the running stack take: memory, open files and CPU time, as the operating system counts them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from service.settings_file import load_settings
from service.stack.processes import session
from service.stack.state import Record, StateDir

WORKER = "worker"
_REPLICA = "ServeReplica:mull"


@dataclass(frozen=True, slots=True)
class Taken:
    """What one part holds now and has used so far: `memory` in bytes, `handles` open, `cpu` in seconds.

    Memory that processes of a part share is counted once for each of them.
    """

    memory: int
    handles: int
    cpu: float


def running_parts() -> list[Record]:
    """Return the parts of the running stack; none where nothing runs."""
    state = StateDir(load_settings(None).state_dir).load()
    return [] if state is None else state.parts


def taken(parts: Sequence[Record]) -> dict[str, Taken]:
    """Return what each part takes, and under `WORKER` the search workers' own share of the part `workers`."""
    found: dict[str, list[psutil.Process]] = {}
    for part in parts:
        found[part.name] = [psutil.Process(process.pid) for process in session(part.process)]
    found[WORKER] = [process for process in found.get("workers", []) if _is_replica(process)]
    return {name: _sum(processes) for name, processes in found.items()}


def cpu_between(before: Mapping[str, Taken], after: Mapping[str, Taken]) -> dict[str, float]:
    """Return the CPU seconds that each part has used between two moments."""
    return {name: after[name].cpu - before[name].cpu for name in before}


def _is_replica(process: psutil.Process) -> bool:
    try:
        return _REPLICA in " ".join([process.name(), *process.cmdline()])
    except psutil.NoSuchProcess:
        return False


def _sum(processes: Sequence[psutil.Process]) -> Taken:
    memory, handles, cpu = 0, 0, 0.0
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                handles += process.num_fds()
                cpu += times.user + times.system
        except psutil.NoSuchProcess:
            continue  # it has ended since the list was made
    return Taken(memory, handles, cpu)
