"""What Mull tells Prometheus. Every label has few values: none is taken from what a client wrote."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from service.search.request import RewardUsage, SearchResult, SearchUsage

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """One registry with all metrics of one gateway."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "mull_requests",
            "HTTP requests answered. Status 499: the client went away first.",
            ["endpoint", "strategy", "status"],
            registry=self._registry,
        )
        self.request_duration = Histogram(
            "mull_request_duration_seconds",
            "Seconds from a request's arrival to its answer, cache hits included.",
            ["strategy"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.policy_tokens = Counter(
            "mull_policy_tokens",
            "Policy tokens: generated (kept in a returned choice, or discarded), and read (prompt, of it cached).",
            ["kind"],
            registry=self._registry,
        )
        self.reward_tokens = Counter(
            "mull_reward_tokens",
            "Reward model tokens: submitted for scoring, of them cached, and generated to read labels.",
            ["kind"],
            registry=self._registry,
        )
        self.cache_requests = Counter(
            "mull_cache_requests",
            "Answers asked for: hit (kept), coalesced (an identical one was in flight), extended (from what earlier "
            "searches left), miss; off (no cache, or not wanted), error (it did not answer).",
            ["result"],
            registry=self._registry,
        )
        self.searches_in_flight = Gauge(
            "mull_searches_in_flight", "Searches the gateway waits for.", registry=self._registry
        )
        self.confidence = Histogram(
            "mull_vote_confidence",
            "The chosen answer's share of all votes, per search with votes.",
            ["strategy"],
            buckets=_SHARES,
            registry=self._registry,
        )

    def searched(self, strategy: str, result: SearchResult, spent: SearchUsage) -> None:
        """Count what one search spent itself, and how sure it is. Answers of other requests spend nothing."""
        policy = spent.policy
        self.policy_tokens.labels("kept").inc(policy.kept)
        self.policy_tokens.labels("discarded").inc(policy.discarded)
        self.policy_tokens.labels("prompt").inc(policy.prompt)
        self.policy_tokens.labels("cached").inc(policy.cached or 0)
        self.scored(spent.reward)
        if result.confidence is not None:
            self.confidence.labels(strategy).observe(result.confidence)

    def scored(self, usage: RewardUsage) -> None:
        """Count what scores have cost, those of a search or those that were asked for."""
        self.reward_tokens.labels("submitted").inc(usage.submitted)
        self.reward_tokens.labels("cached").inc(usage.cached or 0)
        self.reward_tokens.labels("generated").inc(usage.generated)

    def add(self, collector: Collector) -> None:
        """Tell also what `collector` knows when it is asked."""
        self._registry.register(collector)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
