"""Any chat model as a judge: it writes critiques of a solution, and each names the first wrong step.

The form is that of ProcessBench's critic models (Zheng et al. 2024, arXiv:2412.06559, appendices D and E): paragraphs
between tags that are numbered from 0, the answer in a box, -1 where all are right. The wording is our own: a search
also shows solutions that are not finished, and to be unfinished is no error.
"""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from reward_models.critique import first_error, shares_right
from reward_models.protocol import Answer, Critique, Family, Reads, Turn

_FAKED_TAG = re.compile(r"<(?=/?paragraph_)")

_BEFORE = """\
Below are a math problem and a solution, which may not be finished yet. The solution is divided into paragraphs; each \
stands between tags that carry its index, and the first index is 0.

[Math Problem]

"""
_AFTER = """
Review the paragraphs one after the other. As soon as a paragraph holds an error, stop and report the index of that \
paragraph. If there is no error in any of them, report -1. A solution that breaks off before its answer is not \
wrong for that.

End with the reported index alone, in \\boxed{}."""


class Judge(Family):
    """A chat model that is asked `critiques` times.

    The score of a step is the share of critiques that find everything up to it right: an estimate of the probability
    that the judge does, in steps of 1 / `critiques`. Each is a whole text, so a score costs `critiques` times the
    tokens of one. A critique sees all that is there: of solutions that begin alike, a step's score is that of the
    first one that was asked about. 8 is what ProcessBench votes with, as are temperature and `top_p`; their
    `max_tokens` is 8192, and 32768 for reasoning models, which the engine's context must hold beside the prompt.
    """

    name: Literal["judge"] = "judge"
    critiques: int = Field(8, ge=1, le=256, description="Critiques per solution; they are asked for at once.")
    temperature: float = Field(1.0, ge=0.0, le=2.0)
    top_p: float = Field(0.9, gt=0.0, le=1.0)
    max_tokens: int = Field(2048, ge=1, description="Longest critique in tokens; one that is cut off is no vote.")
    paper: ClassVar[str] = "ProcessBench, arXiv:2412.06559"
    reads: ClassVar[Reads] = "solution"

    @model_validator(mode="after")
    def _critiques_differ(self) -> Self:
        if self.temperature == 0.0 and self.critiques > 1:
            raise ValueError("at temperature 0 all critiques are one and the same: set critiques to 1")
        return self

    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[Critique]:
        """Return the same question `critiques` times, with the seeds 0, 1, …; all steps are shown.

        Seeds are the same for every solution: what is compared is sampled alike.
        """
        turns = (Turn("user", _prompt(question, steps)),)
        return [
            Critique(turns, len(steps), self.max_tokens, self.temperature, self.top_p, seed)
            for seed in range(self.critiques)
        ]

    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return for each step the share of critiques that find everything up to it right.

        A critique that names no step of the solution is no vote. Raises `ValueError` where fewer than half are votes:
        what makes a critique fail is no chance, and the rest would speak for too much.
        """
        votes = [vote for answer in answers if (vote := first_error(answer.text, answer.steps)) is not None]
        if not votes or 2 * len(votes) < len(answers):
            raise ValueError(f"{len(votes)} of {len(answers)} critiques end with an index of a step, or -1, in a box")
        return shares_right(votes, answers[0].steps)[first:]


def _prompt(question: str, steps: Sequence[str]) -> str:
    paragraphs = "".join(
        f"<paragraph_{index}>\n{_untagged(step.strip())}\n</paragraph_{index}>\n\n" for index, step in enumerate(steps)
    )
    return f"{_BEFORE}{_untagged(question.strip())}\n\n[Solution]\n\n{paragraphs.rstrip()}\n{_AFTER}"


def _untagged(text: str) -> str:
    """Take the meaning of a tag from what is written like ours: a solution must not end its own paragraph."""
    return _FAKED_TAG.sub("< ", text)
