"""What a reward model has said: one memory for all searches of a worker, so that no step is scored a second time."""

import hashlib
import json
from asyncio import Future, get_running_loop
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol

from service.errors import EngineError

Key = bytes
"""Stands for a question and all steps up to and including the scored one."""

Told = float | EngineError | None
"""What came of somebody's request for one score; `None`: it was given up, or failed for reasons of its own."""

REMEMBERED = 100_000


def score_key(question: str, steps: Sequence[str]) -> Key:
    """Return the key of the last of `steps`, which come without the white space around them."""
    return hashlib.sha256(json.dumps([question, *steps]).encode()).digest()


class ScoreStore(Protocol):
    """Where scores are kept beyond the process. It never raises, and is never waited for for long."""

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        """Return those of the scores that are known, each in [0, 1]."""
        ...

    def put(self, scores: Mapping[Key, float]) -> None:
        """Keep `scores`, some time soon."""
        ...


class ScoreMemo:
    """The last `size` scores of one reward model, those being asked for, and a `store` behind, if there is one.

    Belongs to one event loop.
    """

    def __init__(self, size: int = REMEMBERED, store: ScoreStore | None = None) -> None:
        self._size = size
        self._store = store
        self._scores: dict[Key, float] = {}  # the one that was used longest ago is the first
        self._asked: dict[Key, Future[Told]] = {}

    def afresh(self) -> "ScoreMemo":
        """Return a memory that knows nothing that is known here; what it is told is kept here too."""
        return ScoreMemo(self._size, _KeptIn(self))

    def get(self, key: Key) -> float | None:
        """Return a score that is at hand."""
        score = self._scores.pop(key, None)
        if score is not None:
            self._scores[key] = score
        return score

    async def recall(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        """Return the scores that are known, here or in the store, which is asked once for all that is not here."""
        found = {key: score for key in keys if (score := self.get(key)) is not None}
        missing = [key for key in keys if key not in found and key not in self._asked]
        if self._store is not None and missing:
            stored = await self._store.get(missing)
            self._keep(stored)
            found |= stored
        return found

    def asked(self, key: Key) -> Future[Told] | None:
        """Return what will tell of the request for `key` that is under way; to be shielded from one's own end."""
        return self._asked.get(key)

    def claim(self, keys: Sequence[Key]) -> "Claim":
        """Return what says, for as long as it is entered, that these scores are being asked for. Nobody else may be."""
        return Claim(self, keys)

    def _begin(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._asked[key] = get_running_loop().create_future()

    def _end(self, keys: Sequence[Key], scores: Mapping[Key, float], error: EngineError | None) -> None:
        self._add(scores)
        for key in keys:
            self._asked.pop(key).set_result(scores.get(key, error))

    def _add(self, scores: Mapping[Key, float]) -> None:
        self._keep(scores)
        if self._store is not None and scores:
            self._store.put(scores)

    def _replace(self, scores: Mapping[Key, float]) -> None:
        for key in scores:
            self._scores.pop(key, None)
        self._add(scores)

    def _keep(self, scores: Mapping[Key, float]) -> None:
        for key, score in scores.items():
            self._scores[key] = self._scores.pop(key, score)
        while len(self._scores) > self._size:
            del self._scores[next(iter(self._scores))]


class _KeptIn:
    """A `ScoreStore` that tells nothing and keeps all in a `ScoreMemo`, in place of what that knows."""

    def __init__(self, memo: ScoreMemo) -> None:
        self._memo = memo

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, float]:
        return {}

    def put(self, scores: Mapping[Key, float]) -> None:
        self._memo._replace(scores)


class Claim:
    """One request for scores: those who wait for it are told `scores`, or that it has ended without.

    `scores` may hold more than was claimed. An engine's failure is theirs as well: they would have met it. A budget, a
    deadline or a client's leaving is not: whoever still wants the scores then asks anew.
    """

    def __init__(self, memo: ScoreMemo, keys: Sequence[Key]) -> None:
        self.scores: Mapping[Key, float] = {}
        self._memo = memo
        self._keys = keys

    def __enter__(self) -> "Claim":
        self._memo._begin(self._keys)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._memo._end(self._keys, self.scores, error if isinstance(error, EngineError) else None)
