"""Whether a search worker is of use still: what a new one could do better, and nothing else."""

import asyncio
import itertools

from service.search.answer_spec import AnswerSpec
from service.search.ports import AnswerReader

ANSWER_LIMIT_S = 20.0
"""Longest that the process which parses answers may take for a sum, those before it in its queue included."""


class Unhealthy(Exception):
    """What Serve counts: after three in a row it starts another worker in the place of this one."""


class AnswerCheck:
    """Asks the process that parses answers for something trivial, once a search has used it: it starts lazily."""

    def __init__(self) -> None:
        self._reader: AnswerReader | None = None
        # Replies are remembered: every check needs a question of its own.
        self._numbers = itertools.count(2)

    def uses(self, spec: AnswerSpec, reader: AnswerReader) -> None:
        """Take note of what a search reads its answers with."""
        if spec.kind == "math":
            self._reader = reader

    async def check(self) -> None:
        """Raise `Unhealthy` where a sum is not read within `ANSWER_LIMIT_S`; `MullError` where no process starts."""
        if self._reader is None:
            return
        number = next(self._numbers)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                one = await self._reader.read(rf"\boxed{{x+{number}}}")
                other = await self._reader.read(rf"\boxed{{{number}+x}}")
        except TimeoutError:
            raise Unhealthy(f"no sum was read within {ANSWER_LIMIT_S:g} s") from None
        if one is None or other is None or one.key != other.key:
            raise Unhealthy("the process that parses answers hung or died")
