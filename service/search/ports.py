"""What the driver needs from the outside: a policy, a scorer, a judge of answers."""

from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

from reward_models.protocol import Reads
from service.search.constraint import Constraint
from service.search.sampling import NO_EXTRAS, Extras
from strategies.protocol import Answer

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})
"""For a chat template that is given the messages alone."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a policy samples; `temperature` ≥ 0, `top_p` in (0, 1], `None` is off.

    `logprobs` asks for that many of the most probable tokens' log-probabilities beside the sampled token's own;
    `None` asks for none at all. With `texts` they come with the tokens' texts, and tokens of equal text are one.
    `extras` are passed on to the engine as they are. `constraint` is a form to which what is written is kept.
    """

    temperature: float
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    texts: bool = False
    extras: Extras = NO_EXTRAS
    constraint: Constraint | None = None

    def at(self, temperature: float | None) -> "Sampling":
        """Return the same with another temperature; `None` keeps it."""
        return self if temperature is None else replace(self, temperature=temperature)

    def after(self, written: int) -> "Sampling":
        """Return the same for what goes on after `written` tokens of a solution: they count towards the fewest."""
        fewest = self.extras.min_tokens
        if fewest is None or written == 0:
            return self
        return replace(self, extras=self.extras.model_copy(update={"min_tokens": max(0, fewest - written)}))


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural log-probabilities at one position: of the token that was sampled, and of the most probable ones.

    Both are sorted. `token` and `listed` are there where texts were asked for: of the sampled token, and of all that
    the engine lists, the sampled one with them.
    """

    sampled: float
    top: tuple[float, ...]
    token: str = ""
    listed: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one stream: new text, new token ids, and at the end why it ended.

    "stop": by itself or at a stop string; "length": `max_tokens` is reached; "step": at the end of a step, where that
    was asked for. The text and the ids then end with the token that holds the separator.
    `logprobs` has one entry per token id where `Sampling.logprobs` asks for them, else none.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(slots=True)
class Bill:
    """What one call to an engine has cost, by the engine's own count.

    The engine client fills it in before the call ends, also when the call fails or is cancelled: `prompt` tokens read,
    of them `cached` in its prefix cache (`None`: it does not tell), and tokens `generated`. As long as `exact` is
    false the figures are not the engine's: it has not told, or cannot. `unread` is what a policy wrote after its reader
    had gone: it is on the bill.
    """

    prompt: int = 0
    cached: int | None = 0
    generated: int = 0
    exact: bool = False
    unread: Chunk | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands in the tree of one question: requests whose `trail` begins alike share a prompt's begin.

    `question` is a digest, the same in every process that asks the question.
    """

    question: bytes
    trail: tuple[Hashable, ...]


class Policy(Protocol):
    """A policy model behind an engine.

    Raises `EngineError` and its children, `QuestionTooLong`, and `InvalidRequest` for a chat that the template refuses.
    """

    async def prompt_ids(
        self, messages: Sequence[dict[str, str]], variables: Mapping[str, Any] = NO_VARIABLES
    ) -> tuple[int, ...]:
        """Return the token ids of a chat under the policy's template, ready to be continued.

        `variables` are the template's, beside the messages.
        """
        ...

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return the token ids of raw text, special tokens of the model's own added."""
        ...

    def stream(
        self,
        prompt: tuple[int, ...],
        *,
        max_tokens: int,
        sampling: Sampling,
        seed: int,
        bill: Bill,
        eager: bool = True,
        stop_at_step: bool = False,
        place: Place | None = None,
    ) -> AsyncGenerator[Chunk, None]:
        """Continue `prompt`.

        Closing the generator, or cancelling the task that reads it, aborts the engine's request at once and then waits
        a moment for what it has cost: `bill` is final when the generator is closed. `eager` is for text that is waited
        for step by step; without it larger pieces may come, which cost both sides less.

        `stop_at_step` asks for one step: the stream ends with the first separator, as "step", where the policy can end
        it there. It may go on past a separator, then in small pieces, for the reader to close; and it may end at a
        separator that ends no step (within thinking, or before any text).

        `place` helps an engine of several servers to find the one that has read the prompt before. An `EngineError`
        that another server may make good (`elsewhere`) leaves a text that can be gone on with: of all token ids that
        have come the text has come as well.
        """
        ...

    @property
    def context(self) -> int:
        """The longest prompt plus continuation, in tokens."""
        ...


class Scorer(Protocol):
    """A reward model behind an engine.

    Raises `EngineError` and its children, and `QuestionTooLong` where question and steps do not fit its context.
    """

    @property
    def reads(self) -> Reads:
        """What one request reads: a step, a whole solution step by step, or one score for a whole answer.

        Where it is an "answer", the one step that is asked about is the whole solution.
        """
        ...

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit, without submitting any."""
        ...

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`, each given all steps before it.

        Steps come without the whitespace around them, so that equal steps have equal scores.

        `bill` is final when the call ends; cancelling it aborts the engine's requests.
        """
        ...


class AnswerReader(Protocol):
    """Finds the answer in a solution and reduces it, alone, to its canonical key."""

    async def read(self, solution: str) -> Answer | None:
        """Return the answer of a finished solution; `None` if it holds none that can be read."""
        ...
