"""`mull.dry_run`: what would be searched, and what it can be expected to cost. Nothing is asked of an engine."""

from math import ceil
from typing import Any, Literal

from pydantic import Field

from service.gateway.catalogue import Assumed, Limit, within
from service.gateway.pace import Pace
from service.gateway.plan import Plan
from service.gateway.price import cost
from service.gateway.reply import Reply
from service.search.request import PolicyUsage, RewardUsage, SearchRequest, SearchUsage
from service.settings import Settings
from strategies.cost import Cost, Lengths

CHARS_PER_TOKEN = 4
"""Of English text, about; only the engine's tokenizer knows, and it is not asked."""
TEMPLATE_TOKENS = 16
"""What a chat template adds, about."""
STEP_TOKENS = 32
_NOTE = (
    "An upper estimate: every candidate as long as it may be, nothing stopped early, no score remembered. Seconds come "
    "from the searches of this model by this strategy that this gateway has made, whatever their load; null before any."
)


class Expected(Reply):
    """What the search is expected to spend within its budget; `stopped_by` is the limit that runs out first."""

    policy_tokens: int
    reward_tokens: int
    candidates: int = Field(description="How many whole solutions the policy tokens are enough for.")
    stopped_by: Limit | None
    seconds: float | None = Field(
        description="At the pace of earlier searches of this model by this strategy; null before the first one."
    )
    money: float | None = Field(description="In the currency of the configured prices; null without them.")


class PlanReply(Reply):
    """A search as it would be made, all defaults filled in. The question itself is not repeated."""

    object: Literal["mull.plan"] = "mull.plan"
    model: str
    search: dict[str, Any] = Field(
        description="strategy, score, answer, sampling, seed, n, max_completion_tokens, budget: as they would be used."
    )
    warnings: list[str]
    expected: Expected
    assuming: Assumed
    note: str = _NOTE


def plan_reply(plan: Plan, settings: Settings, pace: Pace) -> PlanReply:
    """Return what `plan` would do and is expected to cost."""
    request = plan.request
    lengths = _lengths(request, settings)
    whole = _cost(request, lengths, settings)
    limits: dict[Limit, int | None] = {
        "policy_tokens": request.budget.policy_tokens,
        "reward_tokens": request.budget.reward_tokens,
    }
    cut = within(whole, {name: limit for name, limit in limits.items() if limit is not None}, lengths)
    return PlanReply(
        model=plan.name,
        search=_search(plan, settings),
        warnings=list(plan.warnings),
        expected=Expected(
            **cut.model_dump(),
            seconds=_within_deadline(pace.seconds(request, cut.policy_tokens), plan.deadline_s),
            money=_money(request, Cost(cut.policy_tokens, cut.reward_tokens), lengths, settings),
        ),
        assuming=Assumed(prompt_tokens=lengths.prompt, candidate_tokens=lengths.candidate, step_tokens=lengths.step),
    )


def _within_deadline(seconds: float | None, deadline_s: float) -> float | None:
    return None if seconds is None else round(min(seconds, deadline_s), 3)


def _search(plan: Plan, settings: Settings) -> dict[str, Any]:
    request = plan.request
    asked = request.model_dump(mode="json", exclude={"model", "messages", "prompt", "trace"})
    own = settings.policies[settings.models[request.model].policy].sampling
    sampling = own.model_dump(exclude={"max_tokens"}) | request.sampling.model_dump(mode="json", exclude_none=True)
    if request.strategy.name == "greedy":
        sampling["temperature"] = 0
    asked["sampling"] = sampling
    asked["max_completion_tokens"] = request.max_completion_tokens or own.max_tokens
    asked["budget"]["deadline_ms"] = round(plan.deadline_s * 1000)
    if not request.strategy.needs_scores:
        del asked["score"]
    return asked


def _lengths(request: SearchRequest, settings: Settings) -> Lengths:
    policy = settings.policies[settings.models[request.model].policy]
    candidate = request.max_completion_tokens or policy.sampling.max_tokens
    chars = len(request.prompt or "") + sum(len(message.content) for message in request.messages)
    prompt = ceil(chars / CHARS_PER_TOKEN) + (TEMPLATE_TOKENS if request.messages else 0)
    return Lengths(max(1, prompt), candidate, min(STEP_TOKENS, candidate))


def _cost(request: SearchRequest, lengths: Lengths, settings: Settings) -> Cost:
    strategy = request.strategy
    cost = strategy.cost(lengths)
    if not (strategy.needs_scores and request.score.needs_reward_model):
        return Cost(cost.policy_tokens, 0)
    reward = settings.reward_of(request.model)
    if reward is not None and reward.family.reads != "step" and not strategy.stepwise:
        # One request reads a whole solution.
        return Cost(cost.policy_tokens, strategy.candidates * (lengths.prompt + lengths.candidate))
    return cost


def _money(request: SearchRequest, cost_: Cost, lengths: Lengths, settings: Settings) -> float | None:
    solutions = cost_.policy_tokens / lengths.candidate
    # Each step of a tree is a request that begins with the question and all steps before it.
    read = lengths.prompt
    if request.strategy.stepwise:
        read = sum(lengths.prompt + depth * lengths.step for depth in range(lengths.steps))
    usage = SearchUsage(
        prompt=lengths.prompt,
        policy=PolicyUsage(
            kept=0, discarded=cost_.policy_tokens, prompt=round(solutions * read), cached=None, estimated=True
        ),
        reward=RewardUsage(submitted=cost_.reward_tokens, cached=None, generated=0, estimated=True),
    )
    return cost(usage, request.model, settings)
