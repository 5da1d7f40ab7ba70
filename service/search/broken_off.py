"""Streams that an engine broke off: what they wrote is kept, and they go on from there."""

from collections import Counter

from service.errors import EngineError
from service.search.check import OF_WHOLE_SOLUTIONS
from service.search.growth import Growth
from service.search.terms import Terms
from strategies.protocol import Path

MOST = 3
"""How often one stream goes on: a question that kills its engine must not kill one after the other for ever."""
_SEEN_TO = {"min_tokens", "stop", "include_stop_str_in_output"}
"""What is right over several requests: tokens are counted by `Sampling`, and no cut is within what may be a stop."""


class BrokenOff:
    """Decides for each stream of one search whether it goes on, and counts how often it has; `last` broke off the last.

    One whose engine keeps it to a form, or counts or looks for something in what one request writes, goes on only where
    it has not begun.
    """

    def __init__(self, terms: Terms) -> None:
        asked = [field for field in OF_WHOLE_SOLUTIONS if getattr(terms.sampling.extras, field, None)]
        self._in_one = terms.sampling.constraint is not None or not _SEEN_TO.issuperset(asked)
        self._times: Counter[Path] = Counter()
        self.last: EngineError | None = None

    def goes_on(self, growth: Growth, error: EngineError) -> bool:
        """Whether another request may write what is missing, after this one ended with `error`."""
        if not error.elsewhere or (self._in_one and growth.own_tokens) or self._times[growth.node] == MOST:
            return False
        self._times[growth.node] += 1
        self.last = error
        return True
