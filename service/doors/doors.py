"""All doors of one gateway: the key, its quota, and the turn at the workers."""

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.doors.admission import Admission
from service.doors.counts import Claim, Counts, LocalCounts, Standing
from service.doors.guard import Guard
from service.doors.keys import Key
from service.doors.ledger import Ledger, ledger_path
from service.doors.price import Tokens, price, spent
from service.doors.rate_limits import quota_exceeded, rate_limit_headers
from service.doors.shared_counts import SharedCounts
from service.errors import InvalidRequest, MullError, NoAnswer
from service.redis_link import RedisLink
from service.search.request import RewardUsage, SearchRequest, SearchUsage
from service.search.score_request import ScoreRequest
from service.settings import Settings


@dataclass(slots=True)
class Ticket:
    """One request that has been let in, on the quota of its key if it has one."""

    _admission: Admission
    _caller: str | None
    _weight: int
    began: bool = field(default=False, init=False)
    bill: Tokens | None = field(default=None, init=False)

    @asynccontextmanager
    async def turn(self, left_s: float) -> AsyncIterator[float]:
        """Wait for a turn at the workers, for at most `left_s` seconds; give how many of them are left.

        The search runs within the context. Cancelling leaves the queue. Raises `Overloaded`.
        """
        async with self._admission.turn(self._caller, self._weight, left_s) as left:
            self.began = True
            yield left

    def settle(self, usage: SearchUsage | RewardUsage) -> None:
        """Say what the request has spent. One that is answered from the cache has no turn, and spends nothing."""
        self.bill = spent(usage)


class Doors:
    """Lets requests in: `caller` says whose they are, `admit` whether and when it is their turn."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        """Raises `ConfigError` where others could come in without keys, and nobody has said that they may."""
        doors, ray = settings.doors, settings.ray
        self._settings = settings
        self._guard = Guard(settings)
        self._link = link
        self._shared = SharedCounts(self._link)
        self._local = LocalCounts()
        self._ledger = Ledger(ledger_path(settings))
        self._over_quota = 0
        self.admission = Admission(doors.tokens_in_flight, doors.tokens_waiting)
        # However short it is, a search takes one of the workers' places: it weighs as much.
        self._least = max(1, doors.tokens_in_flight // (ray.most * ray.searches_per_replica))
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def refused(self) -> dict[str, int]:
        """How many requests were not let in: by the queue (see `Admission`), or by the quota of their key."""
        return {**self.admission.refused, "quota": self._over_quota}

    def caller(self, authorization: str | None, address: str | None) -> Key | None:
        """Return whose key a request shows; `None` where none is asked for. Raises `InvalidApiKey`; see `Guard`."""
        return self._guard.caller(authorization, address)

    def named(self, name: str) -> Key | None:
        """Return the key of that name, if there is one (any more): for work that outlives its request."""
        return self._guard.named(name)

    @asynccontextmanager
    async def admit(
        self,
        key: Key | None,
        request: SearchRequest | ScoreRequest,
        deadline_s: float,
        headers: MutableMapping[str, str],
    ) -> AsyncIterator[Ticket]:
        """Let in a request that will end within `deadline_s`, on `key`'s quota; settle when the context ends.

        What a request costs that ends without a bill: nothing if it never had its turn or if Mull has failed; its whole
        price if its client left or its time was over. The `x-ratelimit-…` headers are put into `headers`, also
        where it is refused. Raises `QuotaExceeded`, and `InvalidRequest` where the key will never pay for it.
        """
        wanted = price(request, self._settings)
        weight = max(self._least, wanted.reward if isinstance(request, ScoreRequest) else wanted.policy)
        if key is None:
            yield Ticket(self.admission, None, weight)
            return
        _check_size(key, wanted)
        counts, standing = await self._take(key, wanted.total, deadline_s)
        headers.update(rate_limit_headers(key.quota, standing))
        if standing.refused is not None:
            self._over_quota += 1
            self._ledger.refused(key.name)
            raise quota_exceeded(key.quota, standing, standing.refused, wanted.total)
        self._ledger.let_in(key.name)
        ticket = Ticket(self.admission, key.name, weight)
        failed = False
        try:
            yield ticket
        except MullError as error:
            failed = not isinstance(error, NoAnswer)
            raise
        finally:
            paid = self._paid(key, ticket, wanted, failed=failed)
            if standing.claim is not None:
                self._give_back(counts, standing.claim, paid)

    async def aclose(self) -> None:
        """Settle what is open and write the ledger."""
        await asyncio.gather(*self._returning, return_exceptions=True)
        await self._ledger.aclose()

    async def _take(self, key: Key, tokens: int, deadline_s: float) -> tuple[Counts, Standing]:
        """Count in Redis where it answers, else in this process: an outage of Redis closes no door."""
        number = uuid.uuid4().hex
        if key.quota.counts and self._link.state != "off":
            standing = await self._shared.take(key, number, tokens, deadline_s)
            if standing is not None:
                return self._shared, standing
        return self._local, await self._local.take(key, number, tokens, deadline_s)

    def _paid(self, key: Key, ticket: Ticket, wanted: Tokens, *, failed: bool) -> int:
        """Enter into the ledger what a request has cost, and return it."""
        if ticket.bill is not None:
            self._ledger.spent(key.name, ticket.bill)
            return ticket.bill.total
        if failed or not ticket.began:
            return 0
        self._ledger.unbilled(key.name, wanted.total)
        return wanted.total

    def _give_back(self, counts: Counts, claim: Claim, paid: int) -> None:
        """Settle in the background: the answer does not wait for it, and a client that leaves does not cancel it."""
        returning = asyncio.create_task(counts.give_back(claim, paid), context=contextvars.Context())
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)


def _check_size(key: Key, wanted: Tokens) -> None:
    """Raise `InvalidRequest` for a price that the key will never pay, however long one waits."""
    quota = key.quota
    limits = (("one request", quota.largest_budget), ("one day", quota.tokens_per_day))
    for what, limit in limits:
        if limit is not None and wanted.total > limit:
            raise InvalidRequest(
                f"This request is priced at {wanted.total} tokens, and this key may use {limit} in {what}.",
                hint="Lower max_completion_tokens, mull.budget or the number of samples.",
                param="mull.budget",
            )
