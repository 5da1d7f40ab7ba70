"""What is said of requests, searches and engine calls in their spans: numbers and names, not a word of a question."""

from collections.abc import Mapping

from service.search.ports import Bill
from service.search.request import RewardUsage, SearchRequest, SearchUsage
from service.search.score_request import ScoreRequest

Fact = str | int | float | bool | tuple[str, ...]
Facts = Mapping[str, Fact]


def asked(request: SearchRequest | ScoreRequest, deadline_s: float) -> Facts:
    """Return what is to be done, and within which limits; the deadline is in milliseconds."""
    budget = request.budget
    told: dict[str, Fact | None] = {
        "mull.model": request.model,
        "mull.budget.deadline_ms": round(1000 * deadline_s),
        "mull.budget.reward_tokens": budget.reward_tokens,
    }
    if isinstance(request, SearchRequest):
        told |= {
            "mull.strategy": request.strategy.name,
            "mull.candidates": request.strategy.candidates,
            "mull.budget.policy_tokens": request.budget.policy_tokens,
            "mull.budget.parallel": request.budget.parallel,
        }
    return _known(told)


def used(usage: SearchUsage) -> Facts:
    """Return what a search has cost, in tokens."""
    policy = usage.policy
    told = {
        "mull.policy.kept_tokens": policy.kept,
        "mull.policy.discarded_tokens": policy.discarded,
        "mull.policy.prompt_tokens": policy.prompt,
        "mull.policy.cached_tokens": policy.cached,
    }
    return {**_known(told), **judged(usage.reward)}


def judged(usage: RewardUsage) -> Facts:
    """Return what scores have cost, in tokens, and how many were remembered."""
    return _known(
        {
            "mull.reward.submitted_tokens": usage.submitted,
            "mull.reward.cached_tokens": usage.cached,
            "mull.reward.generated_tokens": usage.generated,
            "mull.reward.remembered_scores": usage.remembered,
        }
    )


def billed(bill: Bill) -> Facts:
    """Return what one call has cost, under OpenTelemetry's names; `mull.estimated` where the engine did not tell."""
    return _known(
        {
            "gen_ai.usage.input_tokens": bill.prompt,
            "gen_ai.usage.cache_read.input_tokens": bill.cached,
            "gen_ai.usage.output_tokens": bill.generated,
            "mull.estimated": None if bill.exact else True,
        }
    )


def _known(told: Mapping[str, Fact | None]) -> Facts:
    return {name: fact for name, fact in told.items() if fact is not None}
