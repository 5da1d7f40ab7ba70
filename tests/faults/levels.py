"""What the processes hold: file handles, threads and memory, and whether they are back where they were."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

MORE_HANDLES = 40
"""Connections that are kept: to Redis at most 48 from a gateway, to the engines what was open at once."""
MORE_THREADS = 12
"""Ray and the executor of asyncio start theirs when they first need them."""
MORE_MIB = 80


@dataclass(frozen=True, slots=True)
class Level:
    """One process at one moment."""

    handles: int
    threads: int
    mib: int

    def above(self, before: "Level") -> str:
        """Return what is clearly more than it was; empty where nothing is."""
        found = [
            f"{what} {was} → {now}"
            for what, was, now, more in (
                ("handles", before.handles, self.handles, MORE_HANDLES),
                ("threads", before.threads, self.threads, MORE_THREADS),
                ("MiB", before.mib, self.mib, MORE_MIB),
            )
            if now > was + more
        ]
        return ", ".join(found)


def levels(processes: Mapping[str, psutil.Process]) -> dict[str, Level]:
    """Return the level of each process that still lives."""
    found = {}
    for role, process in processes.items():
        try:
            with process.oneshot():
                found[role] = Level(process.num_fds(), process.num_threads(), process.memory_info().rss >> 20)
        except psutil.NoSuchProcess:
            continue
    return found


def leaks(before: Mapping[str, Level], now: Mapping[str, Level]) -> list[str]:
    """Return a line for each process that holds more than it did. A new process is held to the level of the old."""
    return [f"{role}: {more}" for role, level in now.items() if role in before and (more := level.above(before[role]))]
