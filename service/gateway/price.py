"""What a search cost in money, where prices are configured."""

from service.search.request import SearchUsage
from service.settings import Price, Settings

_PER = 1_000_000


def cost(usage: SearchUsage, model: str, settings: Settings) -> float | None:
    """Return what `usage` cost, in the currency of the configured prices.

    `None` where a model that was used has no price. Prompt tokens that the engine had cached cost as much as others.
    """
    public = settings.models[model]
    parts = [(settings.policies[public.policy].price, usage.policy.prompt, usage.policy.kept + usage.policy.discarded)]
    if usage.reward.submitted:
        if public.reward is None:
            return None
        parts.append((settings.reward_models[public.reward].price, usage.reward.submitted, usage.reward.generated))
    total = 0.0
    for price, read, written in parts:
        if price is None:
            return None
        total += _charge(price, read, written)
    return total


def _charge(price: Price, read: int, written: int) -> float:
    return (price.input * read + price.output * written) / _PER
