"""What a gateway tells Prometheus. Every label has few values: none is taken from what a client wrote."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from service.jobs.store import Ended
from service.search.request import RewardUsage, SearchResult, SearchUsage

CACHE_RESULTS = ("hit", "miss", "coalesced", "extended", "off", "error")

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """One registry with all metrics of one gateway."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._first: list[Callable[[], Awaitable[None]]] = []
        ProcessCollector(registry=self._registry)
        self.requests = self._counter(
            "mull_requests",
            "HTTP requests answered. Status 499: the client went away first.",
            "endpoint",
            "strategy",
            "status",
        )
        self.request_duration = self._histogram(
            "mull_request_duration_seconds",
            "Seconds from a search's request to the end of its answer, cache hits included: ok, client_error (4xx), "
            "server_error (5xx, also after an answer had begun), deadline (nothing to show in time), gone (client).",
            _SECONDS,
            "strategy",
            "outcome",
        )
        self.first_progress = self._histogram(
            "mull_time_to_first_progress_seconds",
            "Seconds from a request to the first that its search tells, where the client looks on.",
            _SECONDS,
            "strategy",
        )
        self.policy_tokens = self._counter(
            "mull_policy_tokens",
            "Policy tokens: generated (kept in a returned choice, or discarded), and read (prompt, of it cached).",
            "strategy",
            "kind",
        )
        self.reward_tokens = self._counter(
            "mull_reward_tokens",
            "Reward model tokens: submitted for scoring, of them cached, and generated to read labels. Strategy none: "
            "scores that were asked for.",
            "strategy",
            "kind",
        )
        self.remembered_scores = self._counter(
            "mull_remembered_scores", "Scores that cost nothing, since another search had asked for them.", "strategy"
        )
        self.reused_tokens = self._counter(
            "mull_reused_tokens", "Policy tokens that searches took over from earlier ones.", "strategy"
        )
        self.cost = self._counter(
            "mull_cost",
            "Money spent, in the currency of the configured prices; only where there are prices.",
            "model",
            "role",
            "strategy",
        )
        self.confidence = self._histogram(
            "mull_vote_confidence",
            "The chosen answer's share of all votes, per search with votes.",
            _SHARES,
            "strategy",
        )
        self.margin = self._histogram(
            "mull_vote_margin",
            "By how much the first answer's share of all votes is more than the second's, per search with votes.",
            _SHARES,
            "strategy",
        )
        self.answer_score = self._histogram(
            "mull_answer_score",
            "The first choice's score, per search whose candidates have scores.",
            _SHARES,
            "strategy",
        )
        self.cache_requests = self._counter(
            "mull_cache_requests",
            "Answers asked for: hit (kept), coalesced (an identical one was in flight), extended (from what earlier "
            "searches left), miss; off (no cache, or not wanted), error (it did not answer).",
            "result",
        )
        self.searches_in_flight = Gauge(
            "mull_searches_in_flight",
            "Searches and scorings that the gateway waits for, those in its queue included.",
            ["kind"],
            registry=self._registry,
        )
        self.jobs_ended = self._counter("mull_jobs_ended", "Jobs that this gateway has written the end of.", "status")
        # What has few values is told from the start: a counter that begins with its first event has no rate for that.
        for result in CACHE_RESULTS:
            self.cache_requests.labels(result)
        for kind in ("search", "score"):
            self.searches_in_flight.labels(kind)
        for status in get_args(Ended):
            self.jobs_ended.labels(status)

    def searched(self, strategy: str, result: SearchResult, spent: SearchUsage) -> None:
        """Count what one search spent itself, and how sure it is. Answers of other requests spend nothing."""
        policy = spent.policy
        self.policy_tokens.labels(strategy, "kept").inc(policy.kept)
        self.policy_tokens.labels(strategy, "discarded").inc(policy.discarded)
        self.policy_tokens.labels(strategy, "prompt").inc(policy.prompt)
        self.policy_tokens.labels(strategy, "cached").inc(policy.cached or 0)
        if result.continued is not None:
            before = result.continued.policy
            self.reused_tokens.labels(strategy).inc(before.kept + before.discarded)
        self.scored(strategy, spent.reward)
        if result.confidence is not None:
            self.confidence.labels(strategy).observe(result.confidence)
        if result.votes:
            first, second = [*sorted((vote.share for vote in result.votes), reverse=True), 0.0][:2]
            self.margin.labels(strategy).observe(first - second)
        if result.choices[0].score is not None:
            self.answer_score.labels(strategy).observe(result.choices[0].score)

    def scored(self, strategy: str, usage: RewardUsage) -> None:
        """Count what scores have cost, those of a search or (strategy `none`) those that were asked for."""
        self.reward_tokens.labels(strategy, "submitted").inc(usage.submitted)
        self.reward_tokens.labels(strategy, "cached").inc(usage.cached or 0)
        self.reward_tokens.labels(strategy, "generated").inc(usage.generated)
        self.remembered_scores.labels(strategy).inc(usage.remembered)

    def paid(self, strategy: str, model: str, costs: Mapping[str, float]) -> None:
        """Count what a request to a public model has cost, by role, as far as there are prices."""
        for role, cost in costs.items():
            self.cost.labels(model, role, strategy).inc(cost)

    def add(self, collector: Collector, first: Callable[[], Awaitable[None]] | None = None) -> None:
        """Tell also what `collector` knows when it is asked, and await `first` each time before that."""
        self._registry.register(collector)
        if first is not None:
            self._first.append(first)

    async def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        await asyncio.gather(*(first() for first in self._first))
        return generate_latest(self._registry)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self._registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self._registry)
