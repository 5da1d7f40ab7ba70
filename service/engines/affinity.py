"""Which of several servers gets a request: the one that holds most of its prompt in its prefix cache."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import Protocol, TypeVar

from service.search.ports import Place

SPILL_AT = 1.25
"""A server whose load would be more than this times the mean is passed by."""
NO_LOAD = 16
"""Requests that a server has in one batch and is not passed by for.

The tiny policy's server writes 16 streams in 1.7 times the time of one (8 in 1.4 times): spread over two servers they
gain little, and their prompt is read twice. Without it, four tenths of a single search's requests would leave their
home, which costs the tiny reward model's prefix cache 4 to 6 points (`benchmarks/routing.py`).
"""
REMEMBERED_PLACES = 16_384
REMEMBERED_WEIGHTS = 16_384


class Loaded(Protocol):
    """A server: `name` is the same in every worker, `load` is how many requests it has of this one."""

    @property
    def name(self) -> str: ...

    @property
    def load(self) -> int: ...


Server = TypeVar("Server", bound=Loaded)
Route = Callable[[Sequence[Server], Place | None], Server]
"""Chooses one of the servers that can be asked, at least one, for a request of which the place may be known."""


class Affinity:
    """A `Route`. All requests of a question go to one server, its home, unless that is loaded above the mean.

    The home is found by highest random weight (Thaler and Ravishankar 1998): when a server comes or goes, only the
    questions move whose home it is or was. No server is given more than `capacity`, as in consistent hashing with
    bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016): what is too much spills to the next in the question's
    order, and what grows from there stays there, since its prompt is cached there. Requests without a place go to the
    server with the least load. `spilled` counts.
    """

    def __init__(self) -> None:
        self.spilled = 0
        self._moved: OrderedDict[int, str] = OrderedDict()

    def __call__(self, servers: Sequence[Server], place: Place | None) -> Server:
        """Return one of `servers`."""
        if len(servers) == 1:
            return servers[0]
        if place is None:
            return min(servers, key=lambda server: server.load)
        ranked = order(place.question, servers)
        wanted = self._last(servers, place) or ranked[0]
        most = capacity(servers)
        if wanted.load < most:
            return wanted
        self.spilled += 1
        chosen = next(server for server in ranked if server.load < most)
        self._remember(place, chosen.name)
        return chosen

    def _last(self, servers: Sequence[Server], place: Place) -> Server | None:
        """Return the server to which the request, or the nearest before it in its trail, was moved."""
        if self._moved:
            for key in reversed(list(_keys(place))):
                name = self._moved.get(key)
                if name is not None:
                    self._moved.move_to_end(key)
                    return next((server for server in servers if server.name == name), None)
        return None

    def _remember(self, place: Place, name: str) -> None:
        for key in list(_keys(place))[-1:]:
            self._moved[key] = name
            self._moved.move_to_end(key)
        if len(self._moved) > REMEMBERED_PLACES:
            self._moved.popitem(last=False)


def capacity(servers: Sequence[Loaded]) -> int:
    """Return the most that each server may have once one more request is given out."""
    return max(NO_LOAD, ceil(SPILL_AT * (sum(server.load for server in servers) + 1) / len(servers)))


def order(question: bytes, servers: Sequence[Server]) -> list[Server]:
    """Return the servers as a question prefers them; without one of them the order of the others is the same."""
    return sorted(servers, key=lambda server: _weight(server.name, question), reverse=True)


@lru_cache(REMEMBERED_WEIGHTS)
def _weight(name: str, question: bytes) -> bytes:
    return blake2b(name.encode() + b"\0" + question, digest_size=8).digest()


def _keys(place: Place) -> Iterator[int]:
    """Yield what stands for each beginning of the trail, the shortest first."""
    key = hash(place.question)
    for part in place.trail:
        key = hash((key, part))
        yield key
