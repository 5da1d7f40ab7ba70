"""What a search found, as the commands show it: from the gateway's reply, or from a search in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from service.search.request import (
    CandidateResult,
    PolicyUsage,
    RewardUsage,
    SearchResult,
    SearchUsage,
    VoteResult,
)


class Usage(BaseModel):
    """Tokens of one search; on a cache hit, what the search once cost."""

    policy: PolicyUsage
    reward: RewardUsage

    @property
    def policy_tokens(self) -> int:
        """All tokens the policy generated, kept or not."""
        return self.policy.kept + self.policy.discarded


class Outcome(BaseModel):
    """The `mull` object of a response; `confidence` and shares in [0, 1], `seconds` from request to answer.

    `continued` is what an earlier run had paid of `usage`, where the search went on from one.
    """

    answer: str | None
    confidence: float | None
    stopped_by: str
    votes: tuple[VoteResult, ...]
    candidates: tuple[CandidateResult, ...] | None = None
    usage: Usage
    continued: Usage | None = None
    warnings: tuple[str, ...] = ()
    seconds: float
    trace: tuple[dict[str, Any], ...] | None = None

    @classmethod
    def of(cls, result: SearchResult) -> "Outcome":
        """Return what `result` has to show."""
        return cls(
            answer=result.choices[0].answer,
            confidence=result.confidence,
            stopped_by=result.stopped_by,
            votes=result.votes,
            candidates=result.candidates,
            usage=_usage(result.usage),
            continued=None if result.continued is None else _usage(result.continued),
            warnings=result.warnings,
            seconds=result.seconds,
            trace=result.trace,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: the body as it came, its `mull` object, and what the cache did ("hit", "miss" or "off")."""

    body: Mapping[str, Any]
    mull: Outcome
    cache: str


def _usage(usage: SearchUsage) -> Usage:
    return Usage(policy=usage.policy, reward=usage.reward)
