"""Qwen2.5-Math-RM: one value for a whole solution.

As on the authors' card (https://huggingface.co/Qwen/Qwen2.5-Math-RM-72B): the chat of system prompt, question and
answer under the model's template, read at its last token. Their score is the value itself, of any size; here it is its
sigmoid, which ranks answers in the same order.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import only_row, sigmoid
from reward_models.protocol import Answer, Chat, Family, LastValue, Reads, Turn
from reward_models.qwen_prm import INSTRUCTION


class QwenRM(Family):
    """The chat of Qwen2.5-Math with its answer."""

    name: Literal["qwen_rm"] = "qwen_rm"
    system: str = Field(INSTRUCTION, description="System message.")
    paper: ClassVar[str] = "Yang et al. 2024, arXiv:2409.12122"
    reads: ClassVar[Reads] = "answer"

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[LastValue]:
        """Return one chat that ends where the template ends it: with `<|im_end|>` and a newline."""
        (solution,) = steps
        turns = (Turn("system", self.system), Turn("user", question), Turn("assistant", solution))
        return [LastValue((Chat(turns, reply=False),))]

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the sigmoid of the value."""
        (answer,) = answers
        row = only_row(answer)
        if len(row) != 1:
            raise ValueError(f"{len(row)} values instead of one")
        return (sigmoid(row[0]),)
