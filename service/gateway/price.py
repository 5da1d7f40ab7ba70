"""What a search or a scoring cost in money, where prices are configured."""

from service.search.request import RewardUsage, SearchUsage
from service.settings import Price, Settings

_PER = 1_000_000


def cost(usage: SearchUsage, model: str, settings: Settings) -> float | None:
    """Return what `usage` cost, in the currency of the configured prices.

    `None` where a model that was used has no price. Prompt tokens that the engine had cached cost as much as others.
    """
    written = _writing_cost(usage, model, settings)
    judged = scoring_cost(usage.reward, model, settings) if usage.reward.submitted else 0.0
    return None if written is None or judged is None else written + judged


def costs_by_role(usage: SearchUsage, model: str, settings: Settings) -> dict[str, float]:
    """Return what `usage` cost of the policy and of the reward model, those that have a price."""
    by_role = {"policy": _writing_cost(usage, model, settings), "reward": scoring_cost(usage.reward, model, settings)}
    return {role: cost for role, cost in by_role.items() if cost is not None}


def scoring_cost(usage: RewardUsage, model: str, settings: Settings) -> float | None:
    """Return what the scores in `usage` cost; `None` where the reward model has no price."""
    reward = settings.reward_of(model)
    return None if reward is None else _charge(reward.price, usage.submitted, usage.generated)


def _writing_cost(usage: SearchUsage, model: str, settings: Settings) -> float | None:
    policy = usage.policy
    price = settings.policies[settings.models[model].policy].price
    return _charge(price, policy.prompt, policy.kept + policy.discarded)


def _charge(price: Price | None, read: int, written: int) -> float | None:
    return None if price is None else (price.input * read + price.output * written) / _PER
