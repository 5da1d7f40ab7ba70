"""What a process reward model family is: a way to ask an engine about steps, and to read its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Ids = tuple[int, ...]
"""Token ids of the reward model's own tokenizer."""


@dataclass(frozen=True, slots=True)
class NextToken:
    """A question to the engine: how probable is each of `labels` as the one token that follows `prompt`?"""

    prompt: Ids
    labels: Ids


class ProcessRewardModel(Protocol):
    """A family whose texts are token ids: ready to judge."""

    def requests(self, question: Ids, steps: Sequence[Ids], first: int) -> Sequence[NextToken]:
        """Return one request per step of `steps[first:]`, in order, each with all steps before it as context.

        `question` is the chat prompt of the question, `steps` the steps' own ids without separators.
        """
        ...

    def score(self, logprobs: Sequence[float]) -> float:
        """Return a step's score in [0, 1] from the log-probabilities (≤ 0) of its request's labels, in order."""
        ...


class Family(Protocol):
    """A family as configured: it has texts, not yet token ids."""

    def step(self, text: str) -> str:
        """Return a step in the form in which it is tokenised; `text` is as the policy wrote it."""
        ...

    def texts(self) -> Mapping[str, str]:
        """Return the texts whose token ids `bind` needs, by the field that they come from."""
        ...

    def labels(self) -> Mapping[str, str]:
        """Return those of `texts` that must be one token of the reward model's vocabulary each."""
        ...

    def bind(self, ids: Mapping[str, Ids]) -> ProcessRewardModel:
        """Return the reward model whose `texts` have these ids; `ValueError` says why that cannot be."""
        ...
