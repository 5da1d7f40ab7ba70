"""RLHFlow's process reward models: a chat in which the user says a step and the assistant `+` or `-`.

As in the authors' evaluation (https://github.com/RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py): the first turn
is the question, a space and the first step; every earlier answer is `+`, whatever its score; the score is the softmax
over the logits of `+` and `-` at the token before the answer.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import good_share
from reward_models.protocol import Answer, Chat, Family, NextToken, Token, Turn


class RLHFlow(Family):
    """One turn per step under the model's own chat template."""

    name: Literal["rlhflow"] = "rlhflow"
    good_token: Token = Field("+", description="Label token that means 'right so far'.")
    bad_token: Token = Field("-", description="Label token that means 'wrong'.")
    earlier: str = Field("+", min_length=1, description="What the assistant is taken to have said of earlier steps.")
    paper: ClassVar[str] = "Dong et al. 2024, arXiv:2405.07863; trained as in Math-Shepherd, arXiv:2312.08935"

    def tokens(self) -> Mapping[str, Token]:
        """Return both labels."""
        return {"good_token": self.good_token, "bad_token": self.bad_token}

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[NextToken]:
        """Return one chat per step, up to where the assistant would judge it."""
        turns: tuple[Turn, ...] = ()
        requests = []
        for index, step in enumerate(steps):
            turns = (*turns, Turn("user", f"{question} {step}" if index == 0 else step))
            if index >= first:
                requests.append(NextToken((Chat(turns, reply=True),), (self.good_token, self.bad_token)))
            turns = (*turns, Turn("assistant", self.earlier))
        return requests

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the share of `+` after each step."""
        return tuple(good_share(answer) for answer in answers)
