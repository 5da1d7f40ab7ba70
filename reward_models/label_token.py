"""A causal language model that says after each step which of two label tokens comes next.

The score is P(good) / (P(good) + P(bad)) as the next token after the step's separator: Math-Shepherd (Wang et al.
2023, arXiv:2312.08935) reads its `+` and `-` at a step tag in the same way. Labels never enter the context, so what
was read for one step stays in the engine's prefix cache for the next.
"""

from collections.abc import Mapping, Sequence
from math import exp
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.protocol import Answer, Chat, Family, NextToken, Prompt, Text, Token, Turn


class LabelToken(Family):
    """The question as a chat, each step followed by a separator; the labels of the tiny pair by default."""

    name: Literal["label_token"] = "label_token"
    good_token: Token = Field("<good>", description="Label token that means 'right so far'.")
    bad_token: Token = Field("<bad>", description="Label token that means 'wrong'.")
    step_separator: str = Field("\n\n", min_length=1, description="What follows each step, the last one included.")
    paper: ClassVar[str] = "Math-Shepherd, arXiv:2312.08935"

    def tokens(self) -> Mapping[str, Token]:
        """Return both labels."""
        return {"good_token": self.good_token, "bad_token": self.bad_token}

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[NextToken]:
        """Return one prompt per step: the question, and every step up to it followed by the separator."""
        prompt: Prompt = (Chat((Turn("user", question),)),)
        requests = []
        for index, step in enumerate(steps):
            bare = step.strip().removesuffix(self.step_separator.strip()).strip()
            prompt = (*prompt, Text(bare), Text(self.step_separator))
            if index >= first:
                requests.append(NextToken(prompt, (self.good_token, self.bad_token)))
        return requests

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the share of the good label at each step."""
        return tuple(share(*answer.rows[0]) for answer in answers)


def share(good: float, bad: float) -> float:
    """Softmax over two log-probabilities: 1 / (1 + exp(bad - good)), in [0, 1] and without overflow."""
    if good >= bad:
        return 1.0 / (1.0 + exp(bad - good))
    odds = exp(good - bad)
    return odds / (1.0 + odds)
