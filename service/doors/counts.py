"""What each key has used of its quota: the counting, in this process.

A request takes a place and its price when it comes, all or nothing, and gives back what it did not spend when it
has ended. Requests count by the minute, tokens by the day, both by the clock in UTC.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from service.doors.keys import Key

MINUTE_S = 60
DAY_S = 86_400
LONGEST_LEFT_S = 60
"""How much longer than its deadline a search may hold its place, should the gateway that had it be lost."""

Refusal = Literal["requests", "tokens", "searches"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One request's place: its `ticket`, the `tokens` set aside for it, and the `day` (since 1970) that pays them."""

    key: str
    ticket: str
    tokens: int
    day: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a key stands after a request has come: what it has used in this minute, on this day, and in flight.

    `now` is in seconds since 1970, on the clock of whoever counts. `refused` says which quota the request ran into:
    then it has taken nothing, and `claim` is `None`.
    """

    requests: int
    tokens: int
    searches: int
    now: float
    refused: Refusal | None
    claim: Claim | None

    @property
    def minute_left_s(self) -> float:
        """Seconds until requests count from 0 again."""
        return MINUTE_S - self.now % MINUTE_S

    @property
    def day_left_s(self) -> float:
        """Seconds until tokens count from 0 again."""
        return DAY_S - self.now % DAY_S


class Counts(Protocol):
    """Where quotas are counted."""

    async def take(self, key: Key, ticket: str, tokens: int, deadline_s: float) -> Standing | None:
        """Take a place and `tokens` for a request that will end within `deadline_s`; `None` where nobody can count."""
        ...

    async def give_back(self, claim: Claim, spent: int) -> None:
        """Give the place back, and what was set aside and not spent; what was spent beyond that is added."""
        ...


@dataclass(slots=True)
class _Used:
    minute: int = 0
    requests: int = 0
    tokens: dict[int, int] = field(default_factory=dict)
    tickets: dict[str, float] = field(default_factory=dict)


class LocalCounts:
    """`Counts` of one process, forgotten when it ends. `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: dict[str, _Used] = {}

    async def take(self, key: Key, ticket: str, tokens: int, deadline_s: float) -> Standing:
        """Take a place and `tokens` for a request that will end within `deadline_s`."""
        now = self._clock()
        used, minute, day = self._used.setdefault(key.name, _Used()), int(now // MINUTE_S), int(now // DAY_S)
        if used.minute != minute:
            used.minute, used.requests = minute, 0
        used.tokens = {d: t for d, t in used.tokens.items() if d >= day - 1}
        used.tickets = {t: until for t, until in used.tickets.items() if until > now}
        today = used.tokens.get(day, 0)
        refused = refusal(key, used.requests, today, len(used.tickets), tokens)
        claim = None
        if refused is None:
            claim = Claim(key.name, ticket, tokens, day)
            used.requests += 1
            used.tokens[day] = today = today + tokens
            used.tickets[ticket] = now + deadline_s + LONGEST_LEFT_S
        return Standing(used.requests, today, len(used.tickets), now, refused, claim)

    async def give_back(self, claim: Claim, spent: int) -> None:
        """Give the place back, and what was set aside and not spent; what was spent beyond that is added."""
        used = self._used[claim.key]
        used.tickets.pop(claim.ticket, None)
        if claim.day in used.tokens:
            used.tokens[claim.day] += spent - claim.tokens


def refusal(key: Key, requests: int, tokens: int, searches: int, wanted: int) -> Refusal | None:
    """Return the quota that one more request of `wanted` tokens would run into, after so much has been used."""
    quota = key.quota
    if quota.requests_per_minute is not None and requests >= quota.requests_per_minute:
        return "requests"
    if quota.searches is not None and searches >= quota.searches:
        return "searches"
    if quota.tokens_per_day is not None and tokens + wanted > quota.tokens_per_day:
        return "tokens"
    return None
