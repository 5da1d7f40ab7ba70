"""Whether an answer can really be given: asked of the engines, not guessed from their processes."""

import asyncio
import time
from dataclasses import dataclass

from service.errors import EngineUnavailable, MullError
from service.gateway.workers import Workers

_FRESH_S = 2.0
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """What keeps Mull from answering; empty when it can."""

    problems: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether an answer can be given."""
        return not self.problems

    @property
    def error(self) -> EngineUnavailable:
        """The problems as an error."""
        return EngineUnavailable(f"Not ready: {' '.join(self.problems)}", hint="Run `mull doctor` for more.")


class Readiness:
    """Asks the workers for one generation and one score; many askers within two seconds share one answer."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._asking: asyncio.Task[Report] | None = None
        self._fresh_until = 0.0

    async def report(self) -> Report:
        """Return the last report if it is fresh, else ask again."""
        if self._asking is None or (self._asking.done() and time.monotonic() >= self._fresh_until):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Report:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                problems = tuple(error.message for error in await self._workers.ready())
        except MullError as error:
            problems = (error.message,)
        except TimeoutError:
            problems = (f"The workers did not answer within {_PATIENCE_S:.0f} s.",)
        self._fresh_until = time.monotonic() + _FRESH_S
        return Report(problems)
