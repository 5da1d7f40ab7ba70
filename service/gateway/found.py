"""An answer on its way to the client: where it came from, and what this request has spent on it."""

from dataclasses import dataclass
from typing import Literal

from service.search.request import PolicyUsage, RewardUsage, SearchResult, SearchUsage

Source = Literal["hit", "miss", "coalesced", "extended", "off"]
"""`hit`: kept from an earlier request. `coalesced`: of an identical request that was in flight. `extended`: searched,
from what earlier searches have left. `miss`: searched. `off`: searched, without a word from the cache."""

NOTHING = SearchUsage(
    prompt=0,
    policy=PolicyUsage(kept=0, discarded=0, prompt=0, cached=0, estimated=False),
    reward=RewardUsage(submitted=0, cached=0, generated=0, remembered=0, estimated=False),
)


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known before there is an answer; `age_s` of a kept answer, in whole seconds."""

    source: Source
    age_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What the client is told of it beside the body."""
        age = {} if self.age_s is None else {"age": str(self.age_s)}
        return {"x-mull-cache": self.source, **age}


@dataclass(frozen=True, slots=True)
class Found:
    """A result with where it came from. Its usage says what it has cost, `spent` what of that this request has."""

    result: SearchResult
    source: Source
    age_s: int | None = None

    @property
    def opening(self) -> Opening:
        """What can be said of it in headers."""
        return Opening(self.source, self.age_s)

    @property
    def spent(self) -> SearchUsage:
        """What this request has spent: nothing on what others have found, and not what they had left."""
        return NOTHING if self.source in ("hit", "coalesced") else spent_now(self.result)


def spent_now(result: SearchResult) -> SearchUsage:
    """Return what a search has spent itself: its usage less what earlier ones had paid of it.

    Of the new policy tokens those count as kept that may be; the prompt is counted where the engine was asked at all.
    """
    usage, before = result.usage, result.continued
    if before is None:
        return usage
    policy, paid = usage.policy, before.policy
    generated = max(0, policy.kept + policy.discarded - paid.kept - paid.discarded)
    kept = min(generated, policy.kept)
    prompt = max(0, policy.prompt - paid.prompt)
    reward, judged = usage.reward, before.reward
    return SearchUsage(
        prompt=usage.prompt if prompt else 0,
        policy=PolicyUsage(
            kept=kept,
            discarded=generated - kept,
            prompt=prompt,
            cached=_less(policy.cached, paid.cached),
            estimated=policy.estimated,
        ),
        reward=RewardUsage(
            submitted=max(0, reward.submitted - judged.submitted),
            cached=_less(reward.cached, judged.cached),
            generated=max(0, reward.generated - judged.generated),
            remembered=max(0, reward.remembered - judged.remembered),
            estimated=reward.estimated,
        ),
    )


def _less(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)
