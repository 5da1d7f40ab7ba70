"""What one search has spent so far: the sum of the engines' bills."""

from dataclasses import dataclass, field

from service.search.ports import Bill
from service.search.request import PolicyUsage, RewardUsage, SearchUsage
from strategies.protocol import Path


@dataclass(slots=True)
class Counter:
    """Tokens by kind; `question` is the length of the prompt, `generated` is per candidate.

    A `None` in the `cached` figures means that the engine did not tell.
    """

    question: int
    generated: dict[Path, int] = field(default_factory=dict)
    prompt: int = 0
    cached: int | None = 0
    estimated: bool = False
    reward_submitted: int = 0
    reward_cached: int | None = 0
    reward_generated: int = 0
    reward_remembered: int = 0
    reward_estimated: bool = False

    def grown(self, node: Path, bill: Bill) -> None:
        """Count one stream of `node`."""
        self.generated[node] = self.generated.get(node, 0) + bill.generated
        self.prompt += bill.prompt
        self.cached = _plus(self.cached, bill.cached)
        self.estimated |= not bill.exact

    def judged(self, bill: Bill, remembered: int = 0) -> None:
        """Count one call to the reward model, or that so many scores were remembered."""
        self.reward_submitted += bill.prompt
        self.reward_cached = _plus(self.reward_cached, bill.cached)
        self.reward_generated += bill.generated
        self.reward_estimated |= not bill.exact
        self.reward_remembered += remembered

    def written(self, node: Path) -> int:
        """Return how many tokens it took to write the solution that ends at `node`."""
        return sum(self.generated.get(node[:depth], 0) for depth in range(1, len(node) + 1))

    def usage(self, chosen: set[Path]) -> SearchUsage:
        """Return the totals; the kept tokens are those of the solutions that end at the nodes in `chosen`."""
        kept_nodes = {node[:depth] for node in chosen for depth in range(1, len(node) + 1)}
        kept = sum(tokens for node, tokens in self.generated.items() if node in kept_nodes)
        policy = PolicyUsage(
            kept=kept,
            discarded=sum(self.generated.values()) - kept,
            prompt=self.prompt,
            cached=self.cached,
            estimated=self.estimated,
        )
        reward = RewardUsage(
            submitted=self.reward_submitted,
            cached=self.reward_cached,
            generated=self.reward_generated,
            remembered=self.reward_remembered,
            estimated=self.reward_estimated,
        )
        return SearchUsage(prompt=self.question, policy=policy, reward=reward)


def _plus(total: int | None, part: int | None) -> int | None:
    return None if total is None or part is None else total + part
