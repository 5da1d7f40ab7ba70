"""What one search has spent so far, counted as it happens."""

from dataclasses import dataclass, field

from service.search.request import PolicyUsage, RewardUsage, SearchUsage
from strategies.protocol import Path


@dataclass(slots=True)
class Counter:
    """Tokens by kind. `generated` is per candidate; a `None` in `cached` figures means that the engine did not tell."""

    question: int = 0
    generated: dict[Path, int] = field(default_factory=dict)
    prompt: int = 0
    cached: int | None = 0
    cut_off: bool = False
    reward_submitted: int = 0
    reward_cached: int | None = 0
    reward_generated: int = 0

    def start(self, node: Path, prompt: int) -> None:
        """Count a request of `node` with `prompt` tokens in front."""
        self.generated.setdefault(node, 0)
        self.prompt += prompt

    def usage(self, kept_nodes: set[Path]) -> SearchUsage:
        """Return the totals; the tokens of `kept_nodes` are the kept ones."""
        kept = sum(tokens for node, tokens in self.generated.items() if node in kept_nodes)
        policy = PolicyUsage(
            kept=kept,
            discarded=sum(self.generated.values()) - kept,
            prompt=self.prompt,
            cached=self.cached,
            estimated=self.cut_off,
        )
        reward = RewardUsage(
            submitted=self.reward_submitted, cached=self.reward_cached, generated=self.reward_generated
        )
        return SearchUsage(prompt=self.question, policy=policy, reward=reward)


def add_known(total: int | None, part: int | None) -> int | None:
    """Add two figures, either of which may be unknown."""
    return None if total is None or part is None else total + part
