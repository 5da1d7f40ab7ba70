"""What a reward model family is: a way to ask an engine about steps, and to read its answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Token = int | str
"""One token of the reward model's vocabulary: its id, or a text that is this one token."""

Reads = Literal["step", "solution", "answer"]
"""What one request reads.

"step": the score of one step; what comes before it lies in the engine's prefix cache. "solution": the scores of all
steps of a solution, which cost as much as that of its last one, since nothing is cached. "answer": one score for the
whole solution (an outcome reward model).
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is tokenised by itself; `special` adds what the model puts around a whole prompt (a BOS token, say)."""

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat under the reward model's own template; with `reply` up to where the assistant's next turn begins."""

    turns: tuple[Turn, ...]
    reply: bool = True


@dataclass(frozen=True, slots=True)
class Tag:
    """One token at which a score is read. The same token within a text is not meant."""

    token: Token


Prompt = tuple[Text | Chat | Tag, ...]
"""Parts whose token ids are joined: none depends on its neighbours, so what is known of one need not be asked again."""


@dataclass(frozen=True, slots=True)
class NextToken:
    """How probable is each of `labels` as the token after `prompt`? Read: one row, their log-probabilities (≤ 0)."""

    prompt: Prompt
    labels: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class AtTags:
    """Which classes does the model see at each `Tag` of `prompt`? Read: one row of probabilities for each, in order."""

    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Classes:
    """Which classes does the model see at the last token of `prompt`? Read: one row of probabilities."""

    prompt: Prompt


@dataclass(frozen=True, slots=True)
class LastValue:
    """What does the model's value head say at the last token of `prompt`? Read: one row of one number of any size."""

    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Critique:
    """What does a chat model write of `turns`, which show it `steps` steps? Read: its text, once it has ended.

    `temperature` ≥ 0, `top_p` in (0, 1], `seed` in [0, 2^63). Of a text that does not end within `max_tokens` tokens,
    nothing is read.
    """

    turns: tuple[Turn, ...]
    steps: int
    max_tokens: int
    temperature: float
    top_p: float
    seed: int


Request = NextToken | AtTags | Classes | LastValue | Critique


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read for one request: `rows` of numbers, or the `text` of a critique of `steps` steps."""

    rows: tuple[tuple[float, ...], ...] = ()
    text: str = ""
    steps: int = 0


class Family(BaseModel, ABC):
    """Reward models that are asked and read in the same way; the fields are what differs between them.

    `paper` names the source. A family is told a step's text without the white space around it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    paper: ClassVar[str]
    reads: ClassVar[Reads] = "step"

    def tokens(self) -> Mapping[str, Token]:
        """Return the fields that must be one token of the vocabulary each, and differ from each other."""
        return {}

    @abstractmethod
    def requests(self, question: str, steps: Sequence[str], first: int) -> Sequence[Request]:
        """Return what to ask for the scores of `steps[first:]` (at least one), each given all steps before it.

        Of a family that reads an "answer", `steps` is the whole solution as one.
        """

    @abstractmethod
    def scores(self, answers: Sequence[Answer], first: int) -> tuple[float, ...]:
        """Return one score in [0, 1] per step of `steps[first:]` from the answers to `requests`, in their order.

        Raises `ValueError` where the answers do not tell them: a score that cannot be had is no score.
        """
