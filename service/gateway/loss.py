"""A search whose worker is lost: what another one may still spend on it, and what its usage is then."""

from service.gateway.ray_link import WorkerLost
from service.search.progress import Committed, Tokens
from service.search.request import Budget, RewardUsage, SearchRequest, SearchResult

_COUNTED = "A search worker was lost on the way: of what it had spent, what it had told is in the usage."
_NOT_COUNTED = "A search worker was lost on the way: what it had spent before may not be in the usage."


def is_limited(budget: Budget) -> bool:
    """Whether tokens of any kind are limited."""
    return budget.policy_tokens is not None or budget.reward_tokens is not None


def what_is_left(request: SearchRequest, committed: Committed) -> SearchRequest:
    """Return the request with what the lost worker's last report leaves of its limits; raises `WorkerLost` if nothing.

    What was in flight counts as spent in full. What was begun after the last report, in a tenth of a second and a
    message's way, is not known.
    """
    left = {
        "policy_tokens": _less(request.budget.policy_tokens, committed.policy),
        "reward_tokens": _less(request.budget.reward_tokens, committed.reward),
    }
    for name, tokens in left.items():
        if tokens is not None and tokens < 1:
            raise WorkerLost(
                f"A search worker was lost, and nothing is left of {name} for another one.",
                hint="Try again in a moment; a larger budget leaves room for a second worker.",
            )
    return request.model_copy(update={"budget": request.budget.model_copy(update=left)})


def after_a_loss(result: SearchResult, committed: Committed) -> SearchResult:
    """Return the second worker's result with what the lost one had told that it had spent.

    What the second one went on from, this request has paid for: it is counted once, as this request's.
    """
    usage, before = result.usage, result.continued
    policy_again = before.policy.kept + before.policy.discarded if before is not None else 0
    reward_again = before.reward.submitted if before is not None else 0
    policy = usage.policy.model_copy(
        update={
            "discarded": usage.policy.discarded + max(0, committed.policy.spent - policy_again),
            "estimated": True,
        }
    )
    reward = usage.reward.model_copy(
        update={
            "submitted": usage.reward.submitted + max(0, committed.reward.spent - reward_again),
            "estimated": True,
        }
    )
    warning = _NOT_COUNTED if committed == Committed() else _COUNTED
    return result.model_copy(
        update={
            "usage": usage.model_copy(update={"policy": policy, "reward": reward}),
            "continued": None,
            "warnings": (*result.warnings, warning),
        }
    )


def estimated(usage: RewardUsage) -> RewardUsage:
    """Return the usage of a scoring whose first worker was lost."""
    return usage.model_copy(update={"estimated": True})


def _less(limit: int | None, tokens: Tokens) -> int | None:
    return None if limit is None else limit - tokens.spent - tokens.reserved
