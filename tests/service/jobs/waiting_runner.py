"""A process that takes up one job and waits, until it is killed."""

import asyncio
import sys

from service.jobs.runner import Again, Runner
from service.jobs.store import Ending, JobStore, Lease
from service.settings import Settings


async def _wait(lease: Lease) -> Ending | Again:
    print(f"began {lease.id}", flush=True)
    await asyncio.Event().wait()
    raise AssertionError


async def _run(settings: Settings) -> None:
    async with Runner(JobStore(settings), _wait, 4).running():
        await asyncio.Event().wait()


asyncio.run(_run(Settings.model_validate_json(sys.argv[1])))
