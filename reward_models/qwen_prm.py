"""Qwen2.5-Math-PRM: two classes at a tag after each step, all of a solution in one pass.

As on the authors' card (https://huggingface.co/Qwen/Qwen2.5-Math-PRM-7B): system prompt, question, and an assistant's
turn of steps each followed by `<extra_0>`; the score is the softmax's second class there. vLLM serves it as
`Qwen2ForProcessRewardModel` and keeps nothing of it in the prefix cache.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import of_class
from reward_models.protocol import Answer, AtTags, Chat, Family, Prompt, Reads, Tag, Text, Token, Turn

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."


class QwenPRM(Family):
    """The chat of Qwen2.5-Math, with a tag after each step of the answer."""

    name: Literal["qwen_prm"] = "qwen_prm"
    step_tag: Token = Field("<extra_0>", description="Token after each step at which its score is read.")
    system: str = Field(INSTRUCTION, description="System message.")
    paper: ClassVar[str] = "Zhang et al. 2025, arXiv:2501.07301"
    reads: ClassVar[Reads] = "solution"

    def tokens(self) -> Mapping[str, Token]:
        """Return the tag."""
        return {"step_tag": self.step_tag}

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[AtTags]:
        """Return one prompt for all steps, those before `first` included: what follows the last tag is not seen."""
        prompt: Prompt = (Chat((Turn("system", self.system), Turn("user", question)), reply=True),)
        for step in steps:
            prompt = (*prompt, Text(step), Tag(self.step_tag))
        return [AtTags(prompt)]

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the second of the two classes at each tag from `first` on."""
        rows = [row for answer in answers for row in answer.rows]
        if len(rows) <= first:
            raise ValueError(f"{len(rows)} tags were read, of at least {first + 1}")
        return tuple(of_class(row, 1, classes=2) for row in rows[first:])
