"""Identical requests in flight are one search: within this process, and with Redis in all processes that share it."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol

from pydantic import ValidationError

from service.errors import EngineUnavailable, MullError, from_wire
from service.flight_locks import Claim, FlightLocks
from service.search.request import SearchResult, WorkerReply

FORMAT = 1
"""Raised whenever `WorkerReply` changes; a flight of another format is nobody's but its own."""

_TAG = f"mull/{FORMAT}/{version('mull')}\n".encode()
_MISTAKE = MullError("Mull made a mistake.", hint="Its log has the details, under the id of the request that searched.")


class Search(Protocol):
    """One request's way to a result."""

    @property
    def began(self) -> bool:
        """Whether it has had its turn. What it raises before is its own affair, later that of all who want the same."""
        ...

    async def __call__(self) -> SearchResult:
        """Make the search; it ends at the request's deadline. Raises `MullError`."""
        ...

    async def known(self) -> SearchResult | None:
        """Return what somebody else has found meanwhile, if it is kept."""
        ...


@dataclass(eq=False, slots=True)
class Seat:
    """A request's place in a flight."""

    search: Search
    flight: "_Flight"
    context: Context = field(default_factory=copy_context)
    landed: asyncio.Future[tuple[SearchResult, bool]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """The result, and whether this request's own search has found it. Raises what a search raises."""

    async def leads(self) -> bool:
        """Return whether it is this request that searches, as soon as that is known; it may still come to that."""
        await self.flight.decided.wait()
        return self.flight.leader is self


@dataclass(eq=False, slots=True)
class _Flight:
    """All of this process that want one result. `over`: there is a result, or nobody wants one any more."""

    key: str | None
    seats: list[Seat] = field(default_factory=list)
    leader: Seat | None = None
    attempt: asyncio.Task[SearchResult] | None = None
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False


class Flights:
    """The flights of one gateway.

    The first request of a flight leads it: its search is made, at its cost. It goes on when that request has left, for
    as long as anybody in this process waits; one that has not had its turn yet is left to the next, who leads then.
    When nobody here waits any more it is stopped, and one of another process that waits takes over.
    """

    def __init__(self, locks: FlightLocks, largest: int) -> None:
        """What takes more than `largest` bytes, compressed, is not handed to other processes."""
        self._locks = locks
        self._largest = largest
        self._flights: dict[str, _Flight] = {}
        self._tasks: dict[_Flight, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def boarded(self, key: str | None, search: Search) -> AsyncIterator[Seat]:
        """Take a seat in the flight to the result `key`, for as long as the context lasts; `None` is nobody else's.

        Leaving the last seat stops the search.
        """
        flight = self._flights.get(key) if key is not None else None
        if flight is None:
            flight = _Flight(key)
            if key is not None:
                self._flights[key] = flight
            self._tasks[flight] = task = asyncio.create_task(self._fly(flight))
            task.add_done_callback(lambda _: self._tasks.pop(flight))
        seat = Seat(search, flight)
        flight.seats.append(seat)
        try:
            yield seat
        finally:
            await self._leave(flight, seat)

    async def aclose(self) -> None:
        """Stop what is in flight, and give the locks back."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._locks.aclose()

    async def _leave(self, flight: _Flight, seat: Seat) -> None:
        if seat in flight.seats:
            flight.seats.remove(seat)
        if flight.over:
            return
        if not flight.seats:
            self._end(flight)
            task = self._tasks[flight]
            task.cancel()
            await asyncio.wait({task})
        elif seat is flight.leader and flight.attempt is not None and not seat.search.began:
            flight.attempt.cancel()

    def _end(self, flight: _Flight) -> None:
        """Let nobody else on board."""
        flight.over = True
        flight.decided.set()
        if flight.key is not None and self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _fly(self, flight: _Flight) -> None:
        claim: Claim | None = None
        reply: WorkerReply | None = None
        try:
            while flight.key is not None and (claim := await self._locks.claim(flight.key)) is not None:
                if claim.mine:
                    if (found := await flight.seats[0].search.known()) is not None:
                        reply = WorkerReply(result=found)
                    break
                flight.decided.set()
                news = await self._locks.news(claim)
                if news != "free":
                    reply = _decoded(news) if isinstance(news, bytes) else None
                    break
            if reply is None:
                reply = await self._searched(flight)
            else:
                self._land(flight, reply)
        except BaseException as error:
            for seat in flight.seats:
                _fail(seat, error if isinstance(error, Exception) else _stopped())
            raise
        finally:
            self._end(flight)
            if claim is not None and claim.mine:
                self._locks.release(claim, b"" if reply is None else self._encoded(reply))

    async def _searched(self, flight: _Flight) -> WorkerReply | None:
        """Have one request after the other lead until the search has been made; `None` where none is left."""
        while flight.seats:
            leader = flight.leader = flight.seats[0]
            attempt = flight.attempt = asyncio.create_task(leader.search(), context=leader.context)
            flight.decided.set()
            try:
                await asyncio.wait({attempt})
            except asyncio.CancelledError:
                attempt.cancel()
                await asyncio.wait({attempt})
                raise
            if attempt.cancelled():
                # Its request has left before it had its turn; or what the search is made of was stopped.
                _fail(leader, _stopped())
            elif (error := attempt.exception()) is None:
                reply = WorkerReply(result=attempt.result())
                self._land(flight, reply, leader)
                return reply
            else:
                _fail(leader, error)
                if leader.search.began:
                    reply = WorkerReply(error=(error if isinstance(error, MullError) else _MISTAKE).to_wire())
                    self._land(flight, reply, leader)
                    return reply
            if leader in flight.seats:
                flight.seats.remove(leader)
        return None

    def _land(self, flight: _Flight, reply: WorkerReply, leader: Seat | None = None) -> None:
        """Hand the reply to all on board who have none yet."""
        self._end(flight)
        for seat in flight.seats:
            if seat.landed.done():
                continue
            if reply.result is not None:
                seat.landed.set_result((reply.result, seat is leader))
            elif reply.error is not None:
                _fail(seat, from_wire(reply.error))

    def _encoded(self, reply: WorkerReply) -> bytes:
        """Return what other processes are told. What they cannot read they do not wait for: they search themselves."""
        value = _TAG + zlib.compress(reply.model_dump_json().encode(), level=1)
        return value if len(value) <= self._largest else _TAG


def _fail(seat: Seat, error: BaseException) -> None:
    if not seat.landed.done():
        seat.landed.set_exception(error)
        # It is no mistake that a request which is just leaving does not look.
        seat.landed.exception()


def _stopped() -> MullError:
    return EngineUnavailable("The search was stopped.", hint="Try again in a moment.")


def _decoded(value: bytes) -> WorkerReply | None:
    """Return what a flight came to; `None` for another version's value, and for what says nothing."""
    if not value.startswith(_TAG):
        return None
    try:
        reply = WorkerReply.model_validate_json(zlib.decompress(value[len(_TAG) :]))
    except (zlib.error, ValidationError):
        return None
    return None if reply == WorkerReply() else reply
