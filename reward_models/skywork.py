"""Skywork-o1-Open-PRM: a value head read at the newline that ends each step.

As in the authors' `prepare_input` (https://github.com/SkyworkAI/skywork-o1-prm-inference, model_utils/io_utils.py): the
ids of BOS, question and newline as one text, then those of each line and of its newline by themselves; the score is the
sigmoid of the head's value at the newline. Stock vLLM serves a checkpoint that `mull reward convert` wrote, as
`Qwen2ForSequenceClassification`, whose sigmoid it has taken already.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import of_class, only_row
from reward_models.protocol import Answer, Classes, Family, Prompt, Tag, Text, Token


class Skywork(Family):
    """Lines of text after a question; no chat template."""

    name: Literal["skywork"] = "skywork"
    bos: str = Field("<|im_start|>", description="What the prompt begins with: the `bos_token` of their tokenizer.")
    step_token: str = Field("\n", min_length=1, description="One token: what ends the question and each step.")
    paper: ClassVar[str] = "Skywork o1 Open, https://huggingface.co/Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"

    def tokens(self) -> Mapping[str, Token]:
        """Return the newline."""
        return {"step_token": self.step_token}

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[Classes]:
        """Return one prompt per step, which ends with its newline.

        Of a step of several lines, each of which is a step to the authors, the last is read.
        """
        prompt: Prompt = (Text(f"{self.bos}{question}{self.step_token}"),)
        requests = []
        for index, step in enumerate(steps):
            for line in step.split(self.step_token):
                prompt = (*prompt, Text(line), Tag(self.step_token))
            if index >= first:
                requests.append(Classes(prompt))
        return requests

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the only class at each newline."""
        return tuple(of_class(only_row(answer), 0, classes=1) for answer in answers)
