"""What a request is priced at before it has begun, and what it has spent when it has ended: tokens, of the same kinds.

All are counted as `usage` and the budgets count them, except that what the reward model finds in its prefix cache is
free.
"""

from dataclasses import dataclass
from math import ceil

from service.search.request import RewardUsage, SearchRequest, SearchUsage
from service.search.score_request import ScoreRequest
from service.settings import Settings
from strategies.cost import Lengths

_CHARS_PER_TOKEN = 4
"""Assumed of a question, whose tokens only the engine knows."""

_STEP_TOKENS = 32
"""Assumed of a step."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one request, by what was done with them; each at least 0.

    The question's `prompt`, those that the `policy` writes, those that the `reward` model reads anew or writes.
    """

    prompt: int = 0
    policy: int = 0
    reward: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.policy + self.reward

    def __add__(self, other: "Tokens") -> "Tokens":
        """Return the sum, kind by kind."""
        return Tokens(self.prompt + other.prompt, self.policy + other.policy, self.reward + other.reward)


def price(request: SearchRequest | ScoreRequest, settings: Settings) -> Tokens:
    """Return the most that a request is expected to spend: every candidate as long as it may be, nothing cut short."""
    return _search_price(request, settings) if isinstance(request, SearchRequest) else _score_price(request)


def spent(usage: SearchUsage | RewardUsage) -> Tokens:
    """Return what a search or a scoring has spent."""
    if isinstance(usage, RewardUsage):
        return Tokens(reward=_judged(usage))
    return Tokens(usage.prompt, usage.policy.kept + usage.policy.discarded, _judged(usage.reward))


def _search_price(request: SearchRequest, settings: Settings) -> Tokens:
    policy = settings.policies[settings.models[request.model].policy]
    characters = len(request.prompt or "") + sum(len(message.content) for message in request.messages)
    prompt = _tokens(characters)
    longest = request.max_completion_tokens or policy.sampling.max_tokens
    strategy, budget = request.strategy, request.budget
    written = strategy.cost(Lengths(prompt, longest, min(_STEP_TOKENS, longest))).policy_tokens
    read = 0
    if strategy.needs_scores and request.score.needs_reward_model:
        # Step by step or at once: with its prefix cache a reward model reads each token once, and each question.
        read = written + ceil(written / longest) * prompt
    return Tokens(prompt, _at_most(written, budget.policy_tokens), _at_most(read, budget.reward_tokens))


def _score_price(request: ScoreRequest) -> Tokens:
    texts = request.solutions or tuple("".join(steps) for steps in request.steps or ())
    read = sum(_tokens(len(request.question) + len(text)) for text in texts)
    return Tokens(reward=_at_most(read, request.budget.reward_tokens))


def _judged(usage: RewardUsage) -> int:
    return max(0, usage.submitted - (usage.cached or 0)) + usage.generated


def _tokens(characters: int) -> int:
    return max(1, ceil(characters / _CHARS_PER_TOKEN))


def _at_most(tokens: int, limit: int | None) -> int:
    return tokens if limit is None else min(tokens, limit)
