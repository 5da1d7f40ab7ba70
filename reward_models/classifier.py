"""An outcome reward model that is a sequence classifier: one probability for a whole solution.

Any `*ForSequenceClassification` that vLLM serves: it reads the last token of the chat and answers with the sigmoid of
one class or the softmax over several. AceMath-RM and Skywork-Reward are of this kind.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from reward_models.probability import of_class, only_row
from reward_models.protocol import Answer, Chat, Classes, Family, Reads, Turn


class Classifier(Family):
    """Question and answer as a chat."""

    name: Literal["classifier"] = "classifier"
    system: str | None = Field(None, description="System message, if the model was trained with one.")
    good_class: int = Field(1, ge=0, description="Of several classes, the one that means 'right'.")
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv:2110.14168"
    reads: ClassVar[Reads] = "answer"

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[Classes]:
        """Return one chat that ends where the model's template ends it."""
        (solution,) = steps
        system = () if self.system is None else (Turn("system", self.system),)
        return [Classes((Chat((*system, Turn("user", question), Turn("assistant", solution)), reply=False),))]

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return the probability of the good class, or of the only one."""
        (answer,) = answers
        row = only_row(answer)
        return (of_class(row, 0 if len(row) == 1 else self.good_class, classes=len(row)),)
