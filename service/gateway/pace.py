"""How fast searches have been here: what a dry run knows of seconds."""

from service.search.request import SearchRequest, SearchResult

_WEIGHT = 0.2


class Pace:
    """Policy tokens per second of each model's searches, by strategy: a moving mean of those that this process made."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], float] = {}

    def note(self, request: SearchRequest, result: SearchResult) -> None:
        """Take a search that was made into the mean."""
        policy = result.usage.policy
        tokens = policy.kept + policy.discarded
        if tokens == 0 or result.seconds <= 0:
            return
        rate, key = tokens / result.seconds, _key(request)
        self._rates[key] = rate + (1 - _WEIGHT) * (self._rates.get(key, rate) - rate)

    def seconds(self, request: SearchRequest, tokens: int) -> float | None:
        """Return how long `tokens` policy tokens take; `None` before the first such search."""
        rate = self._rates.get(_key(request))
        return None if rate is None else tokens / rate


def _key(request: SearchRequest) -> tuple[str, str]:
    return request.model, request.strategy.name
