"""Math-Shepherd: a causal language model that says `+` or `-` after the tag that ends each step.

As in the authors' example (https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm): the text is
`question step ки\\nstep ки`, encoded as a whole, and the score the softmax over the logits of `+` and `-` at the tag.
Its training steps begin with `Step 1: `, which nothing here adds: a policy may be told to write so.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import good_share
from reward_models.protocol import Answer, Family, NextToken, Text, Token


class MathShepherd(Family):
    """Question and steps as one text; the ids of the labels are those of the authors' Mistral vocabulary."""

    name: Literal["math_shepherd"] = "math_shepherd"
    good_token: Token = Field(648, description="Label token that means 'right so far': `+` after a space.")
    bad_token: Token = Field(387, description="Label token that means 'wrong': `-` after a space.")
    step_tag: str = Field("ки", min_length=1, description="What ends each step, after a space.")
    paper: ClassVar[str] = "Wang et al. 2023, arXiv:2312.08935"

    def tokens(self) -> Mapping[str, Token]:
        """Return both labels."""
        return {"good_token": self.good_token, "bad_token": self.bad_token}

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[NextToken]:
        """Return one prompt per step, which ends with its tag; a tag that the policy wrote there is not doubled.

        Each is one text: SentencePiece would begin every piece of it with a space of its own.
        """
        bare = [step.strip().removesuffix(self.step_tag).strip() for step in steps]
        # No two spaces before the tag: they would be one token, and the tag another than the one of the training.
        lines = [
            _spaced(question.strip() if index == 0 else "", step, self.step_tag) for index, step in enumerate(bare)
        ]
        labels = (self.good_token, self.bad_token)
        return [
            NextToken((Text("\n".join(lines[: index + 1]), special=True),), labels)
            for index in range(first, len(lines))
        ]

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the share of `+` at each tag."""
        return tuple(good_share(answer) for answer in answers)


def _spaced(question: str, step: str, tag: str) -> str:
    """Join what is not empty by spaces; a tag alone on its line keeps the space before it."""
    said = " ".join(part for part in (question, step) if part)
    return f"{said} {tag}"
