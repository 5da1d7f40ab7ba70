"""What the driver needs from the outside: a policy, a scorer, a judge of answers."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from strategies.protocol import Answer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a policy samples; `temperature` ≥ 0, `top_p` in (0, 1], `None` is off."""

    temperature: float
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()

    def at(self, temperature: float | None) -> "Sampling":
        """Return the same with another temperature; `None` keeps it."""
        return self if temperature is None else replace(self, temperature=temperature)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one stream: new text, new token ids, and at the end why it ended ("stop" or "length").

    `prompt_tokens` and `cached_tokens` are the engine's own figures, in the last chunk only; `cached_tokens` is
    `None` where the engine does not tell.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """One score in [0, 1] per step asked for, and what they cost.

    `submitted` counts the prompt tokens sent to the engine, `cached` those of them that its prefix cache held
    (`None`: it does not tell), `generated` the tokens it had to write.
    """

    values: tuple[float, ...]
    submitted: int
    cached: int | None
    generated: int


class Policy(Protocol):
    """A policy model behind an engine.

    Raises `EngineError` and its children, `QuestionTooLong`, and `InvalidRequest` for a chat that the template refuses.
    """

    async def prompt_ids(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        """Return the token ids of a chat under the policy's template, ready to be continued."""
        ...

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of raw text, special tokens of the model's own added."""
        ...

    def stream(
        self, prompt: tuple[int, ...], *, max_tokens: int, sampling: Sampling, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        """Continue `prompt`; closing the generator aborts the engine's request."""
        ...

    @property
    def context(self) -> int:
        """The longest prompt plus continuation, in tokens."""
        ...


class Scorer(Protocol):
    """A reward model behind an engine.

    Raises `EngineError` and its children, and `QuestionTooLong` where question and steps do not fit its context.
    """

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit, without submitting any."""
        ...

    async def score(self, question: str, steps: Sequence[str], first: int) -> Scores:
        """Score `steps[first:]`, each given all steps before it."""
        ...


class AnswerReader(Protocol):
    """Finds the answer in a solution and reduces it, alone, to its canonical key."""

    async def read(self, solution: str) -> Answer | None:
        """Return the answer of a finished solution; `None` if it holds none that can be read."""
        ...
