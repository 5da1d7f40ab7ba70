"""What a search or a scoring cost in money, where prices are configured."""

from service.search.request import RewardUsage, SearchUsage
from service.settings import Price, Settings

_PER = 1_000_000


def cost(usage: SearchUsage, model: str, settings: Settings) -> float | None:
    """Return what `usage` cost, in the currency of the configured prices.

    `None` where a model that was used has no price. Prompt tokens that the engine had cached cost as much as others.
    """
    public = settings.models[model]
    policy = usage.policy
    written = _charge(settings.policies[public.policy].price, policy.prompt, policy.kept + policy.discarded)
    judged = scoring_cost(usage.reward, model, settings) if usage.reward.submitted else 0.0
    return None if written is None or judged is None else written + judged


def scoring_cost(usage: RewardUsage, model: str, settings: Settings) -> float | None:
    """Return what the scores in `usage` cost; `None` where the reward model has no price."""
    reward = settings.reward_of(model)
    return None if reward is None else _charge(reward.price, usage.submitted, usage.generated)


def _charge(price: Price | None, read: int, written: int) -> float | None:
    return None if price is None else (price.input * read + price.output * written) / _PER
