"""Scores of steps, each asked for once: candidates that begin alike share the scores of what they share."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward_models.protocol import Reads
from service.errors import EngineError
from service.search.ledger import Account
from service.search.memo import ScoreMemo, score_key
from service.search.ports import Bill, Scorer
from service.search.slots import Share

Prefix = tuple[str, ...]
"""All steps up to and including the one that is scored, stripped: what a score depends on beside the question."""


def prefixes(steps: Sequence[str], first: int) -> list[Prefix]:
    """Return what the scores of `steps[first:]` depend on."""
    stripped = tuple(step.strip() for step in steps)
    return [stripped[: end + 1] for end in range(first, len(steps))]


def charge(bill: Bill, reads: Reads) -> int:
    """Return what one call counts for in `reward_tokens`: what was submitted and, by a judge that reasons, written.

    The one token by which a model that reads step by step tells its label is no such writing.
    """
    return bill.prompt + (bill.generated if reads == "solution" else 0)


@dataclass(slots=True, eq=False)
class _Request:
    """The scores of `wanted`, which are on their way, and how many wait for them."""

    wanted: Sequence[Prefix]
    task: Task[None]
    waiting: int = 0


@dataclass(slots=True)
class StepScores:
    """The scores of one question's steps, by everything up to and including the step.

    A request (started by `spawn`) belongs to no single candidate: it is cancelled when nobody in this search waits for
    it any more. `paid` is told what each request has cost, and how many scores cost nothing, since they were in `memo`
    or another search was asking for them. `known` may hold scores of an earlier run.
    """

    question: str
    scorer: Scorer
    slots: Share
    account: Account
    spawn: Callable[[Coroutine[Any, Any, None]], Task[None]]
    paid: Callable[[Bill, int], None]
    known: dict[Prefix, float] = field(default_factory=dict)
    memo: ScoreMemo = field(default_factory=ScoreMemo)
    _asking: dict[Prefix, _Request] = field(default_factory=dict)

    def remembered(self, steps: Sequence[str], first: int) -> tuple[float, ...] | None:
        """Return the scores of `steps[first:]` if all of them are at hand."""
        wanted = prefixes(steps, first)
        return None if self._unknown(wanted) else tuple(self.known[prefix] for prefix in wanted)

    async def of(self, steps: Sequence[str], first: int) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`.

        Raises `BudgetExhausted("reward_tokens")`, or what the scorer raises.
        """
        wanted = prefixes(steps, first)
        await self._recall(wanted)
        requests = self._requests(wanted)
        for request in requests:
            request.waiting += 1
        try:
            for request in requests:
                await asyncio.shield(request.task)
            return tuple(self.known[prefix] for prefix in wanted)
        finally:
            for request in requests:
                self._leave(request)

    def _unknown(self, wanted: Iterable[Prefix]) -> list[Prefix]:
        """Return those of `wanted` whose scores are not at hand; the others are known from here on."""
        found = {prefix: self.memo.get(self._key(prefix)) for prefix in wanted if prefix not in self.known}
        self._take({prefix: score for prefix, score in found.items() if score is not None})
        return [prefix for prefix, score in found.items() if score is None]

    async def _recall(self, wanted: Sequence[Prefix]) -> None:
        missing = [prefix for prefix in wanted if prefix not in self.known and prefix not in self._asking]
        keys = {prefix: self._key(prefix) for prefix in missing}
        if keys:
            found = await self.memo.recall(list(keys.values()))
            self._take({prefix: found[key] for prefix, key in keys.items() if key in found})

    def _take(self, scores: dict[Prefix, float]) -> None:
        """Take over what this search need not ask for."""
        new = {prefix: score for prefix, score in scores.items() if prefix not in self.known}
        if new:
            self.known |= new
            self.paid(Bill(exact=True), len(new))

    def _requests(self, wanted: Sequence[Prefix]) -> list[_Request]:
        """Return the requests, new ones among them, that will make all of `wanted` known."""
        new = [prefix for prefix in wanted if prefix not in self.known and prefix not in self._asking]
        groups = [new] if new and self.scorer.reads == "solution" else [[prefix] for prefix in new]
        for group in groups:
            request = _Request(group, self.spawn(self._obtain(group)))
            self._asking.update(dict.fromkeys(group, request))
        return list(dict.fromkeys(self._asking[prefix] for prefix in wanted if prefix not in self.known))

    def _leave(self, request: _Request) -> None:
        request.waiting -= 1
        if request.waiting == 0:
            # Done or not: the scores are known by now, and what nobody waits for is not worth its tokens.
            if not request.task.cancelling():  # being cancelled twice it would lose its bill
                request.task.cancel()
            for prefix in request.wanted:
                del self._asking[prefix]

    async def _obtain(self, group: Sequence[Prefix]) -> None:
        """Make all of `group` known: what other searches are asking for comes from them, the rest is asked for."""
        while missing := self._unknown(group):
            asked = {prefix: self.memo.asked(self._key(prefix)) for prefix in missing}
            if mine := [prefix for prefix, theirs in asked.items() if theirs is None]:
                await self._ask(mine)
            for prefix, theirs in asked.items():
                if theirs is not None:
                    told = await asyncio.shield(theirs)
                    if isinstance(told, EngineError):
                        raise told
                    if told is not None:
                        self._take({prefix: told})

    async def _ask(self, group: Sequence[Prefix]) -> None:
        """Ask for the scores of `group` in one request, which scores the steps between them as well."""
        steps, first = group[-1], len(group[0]) - 1
        with self.memo.claim([self._key(prefix) for prefix in group]) as claim:
            async with self.slots:
                price = await self.scorer.price(self.question, steps, first)
                reservation = self.account.reserve(price)
                bill = Bill()
                try:
                    scores = await self.scorer.score(self.question, steps, first, bill)
                finally:
                    if not bill.exact:
                        # The engine may have done it all: what it is not known to have written counts as read.
                        bill.prompt = max(bill.prompt, price - bill.generated)
                    reservation.settle(charge(bill, self.scorer.reads), bill)
                    self.paid(bill, 0)
            told = dict(zip(prefixes(steps, first), scores, strict=True))
            claim.scores = {self._key(prefix): score for prefix, score in told.items()}
        self.known = told | self.known

    def _key(self, prefix: Prefix) -> bytes:
        return score_key(self.question, prefix)
