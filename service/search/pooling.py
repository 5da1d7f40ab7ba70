"""Samples that outlive their search: what it takes from the pool of its question, and what it adds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from service.search.check import OF_WHOLE_SOLUTIONS
from service.search.request import SearchRequest
from service.search.trace import Grown
from strategies.protocol import Answer, Ended, EndReason, Path, Sample


@dataclass(frozen=True, slots=True)
class End:
    """How a sample came to its own end; `answer` and `certainty` are as in `Ended`."""

    reason: EndReason
    answer: Answer | None
    certainty: float | None


@dataclass(frozen=True, slots=True)
class Kept:
    """One sample as far as it is written: its requests to the policy, in order. `end` is `None` before its own end."""

    requests: tuple[Grown, ...]
    end: End | None = None

    @property
    def tokens(self) -> int:
        """How many tokens have been written."""
        return sum(len(request.token_ids) for request in self.requests)

    @property
    def cost(self) -> int:
        """How many tokens were generated for it: not fewer, since some may have come after its answer."""
        return sum(request.bill.generated for request in self.requests)


class CandidatePool(Protocol):
    """The samples of one question under one way of sampling, by their index. It never raises."""

    async def open(self, samples: int) -> None:
        """Learn what is kept of the first `samples`, within a bounded time; called once, before `get`."""
        ...

    def get(self, index: int) -> Kept | None:
        """Return what is kept of a sample."""
        ...

    def put(self, index: int, sample: Kept) -> None:
        """Keep a sample, some time soon, where no more of it is kept already."""
        ...


class Pooling:
    """The whole samples of one search, by index, between the search and the pool.

    Only what is sampled as the request says, from the question to its own end, has a place there. Each index is taken
    once, in the order in which a search takes up its candidates: whatever was there before, the first N are used.
    `max_tokens` caps a candidate; `resumes` says whether what was cut off can be gone on with.
    """

    def __init__(self, pool: CandidatePool | None, *, max_tokens: int, resumes: bool) -> None:
        self._pool = pool
        self._max_tokens = max_tokens
        self._resumes = resumes
        self._requests: dict[int, list[Grown]] = {}
        self._unread: set[int] = set()  # at their end, but their answer has not been read yet

    def take(self, sample: Sample, cap: int) -> Kept | None:
        """Return what is kept of `sample`, the first time, if it is the beginning of what `cap` tokens allow.

        What is longer than the cap, or has cost more, is not: it is drawn anew, and ends where the cap does.
        """
        if self._pool is None or len(sample.node) != 1 or sample.node[0] < 0 or sample.node[0] in self._requests:
            return None
        if sample.temperature is not None or sample.max_steps is not None:
            return None
        kept = self._pool.get(sample.node[0])
        if kept is None or not self._fits(kept, cap):
            kept = None
        self._requests[sample.node[0]] = [] if kept is None else list(kept.requests)
        return kept

    def grew(self, record: Grown) -> None:
        """Add a request that is over. What it wrote after its last token that was read is no part of the sample."""
        requests = self._of(record.node)
        if requests is None or not record.token_ids:
            return
        cut_off = record.finish_reason is None
        bill = replace(record.bill, generated=len(record.token_ids)) if cut_off else record.bill
        requests.append(replace(record, at=0.0, bill=bill, past=True))
        if cut_off:
            self._put(record.node[0])
        else:
            self._unread.add(record.node[0])

    def ended(self, event: Ended) -> None:
        """Add that a sample has come to its end: its own, or that of a budget, which is none of the sample's."""
        requests = self._of(event.node)
        if not requests:
            return
        written = Kept(tuple(requests)).tokens
        own = event.reason == "stop" or written >= self._max_tokens
        self._put(event.node[0], End(event.reason, event.answer, event.certainty) if own else None)

    def close(self) -> None:
        """Keep those too whose answers were not waited for."""
        for index in list(self._unread):
            self._put(index)

    def _of(self, node: Path) -> list[Grown] | None:
        return self._requests.get(node[0]) if len(node) == 1 else None

    def _fits(self, kept: Kept, cap: int) -> bool:
        whole = kept.end is not None and (kept.end.reason == "stop" or kept.tokens >= self._max_tokens)
        return (whole or self._resumes) and kept.cost <= cap

    def _put(self, index: int, end: End | None = None) -> None:
        self._unread.discard(index)
        if self._pool is not None:
            self._pool.put(index, Kept(tuple(self._requests[index]), end))


def certainty_of(request: SearchRequest) -> int | None:
    """Return the parameter of the `Certainty` by which a search judges its candidates; `None` if it does not."""
    logprobs = request.score.logprobs if request.strategy.needs_scores else None
    return 0 if logprobs is None and request.strategy.prior else logprobs


def resumes(request: SearchRequest) -> bool:
    """Return whether a candidate that was cut off can be gone on with in another request to the engine.

    Not where the engine keeps it to a form, or counts or looks for something in what one request writes; nor where its
    log-probabilities are judged, which are not kept.
    """
    within: Sequence[str] = [field for field in OF_WHOLE_SOLUTIONS if field != "min_tokens"]  # counted by `Sampling`
    asked = request.sampling
    return request.constraint is None and certainty_of(request) is None and not any(getattr(asked, f) for f in within)
