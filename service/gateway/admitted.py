"""The door of one search: where a request that has been understood meets the quota of the key that it has shown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from service.doors.doors import Doors, Ticket
from service.search.request import SearchRequest
from service.search.score_request import ScoreRequest


@asynccontextmanager
async def admitted(
    doors: Doors, request: Request, wanted: SearchRequest | ScoreRequest, deadline_s: float
) -> AsyncIterator[Ticket]:
    """Let in what `request` asks for; `Doors.admit` says what is raised and what is settled.

    The limits that it tells go out with whatever answer there is: `Doorkeeper` adds them.
    """
    scope = request.scope
    async with doors.admit(scope["mull.key"], wanted, deadline_s, scope["mull.headers"]) as ticket:
        yield ticket
