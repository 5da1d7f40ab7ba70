"""How often a request may be sent again, and after how long."""

import random
import time
from collections.abc import Callable

MOST_TRIES = 3
"""How often one request is sent in all."""
SHARE = 0.2
"""Repetitions per request, in the long run: more would add to the load of an engine that has too much of it."""
PER_SECOND = 0.5
"""Repetitions per second that are allowed beside, so that an engine which is hardly used is tried again."""
MOST_SAVED = 10.0
BASE_S = 0.05


class RetryBudget:
    """A bucket of tokens that every request fills a little and every repetition empties by one. `now` is in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._tokens = MOST_SAVED
        self._filled = now()

    def earn(self) -> None:
        """Take in that a request is sent for the first time."""
        self._tokens = min(MOST_SAVED, self._tokens + SHARE)

    def spend(self) -> bool:
        """Pay for a repetition; `False`: there is nothing left to pay with."""
        now = self._now()
        self._tokens = min(MOST_SAVED, self._tokens + PER_SECOND * (now - self._filled))
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def pause_s(tries: int) -> float:
    """Return how long to wait before the next try, after `tries` of them: anything up to a time that doubles.

    Full jitter: those that failed together do not come back together (Brooker, "Exponential Backoff And Jitter", 2015).
    """
    return random.uniform(0, BASE_S * 2 ** (tries - 1))
