"""One candidate as it is written: text and token ids so far, cut into steps."""

from dataclasses import dataclass, field

from service.errors import EngineError
from service.search.ports import Chunk, TokenLogprobs
from service.search.steps import StepSplitter
from strategies.certainty import Certainty
from strategies.protocol import Answer, Ended, EndReason, Path, Paused


@dataclass(slots=True)
class Growth:
    """A solution from the question to the end of `node`: what its ancestors wrote, and what its own stream adds.

    The first `inherited_steps` and `inherited_tokens` are the ancestors'. `max_steps` is how many the stream was asked
    for, `None` for all. `certainty` is there where the policy's log-probabilities are to be judged; `logprobs` are
    those that came with texts, one for each token. `whole`: it is one step, which only the end of the stream completes.
    """

    node: Path
    splitter: StepSplitter
    certainty: Certainty | None = None
    max_steps: int | None = None
    whole: bool = False
    steps: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    inherited_steps: int = 0
    inherited_tokens: int = 0

    def fork(self, node: Path, certainty: Certainty | None, max_steps: int | None) -> "Growth":
        """Return the growth of a stream that goes on from here."""
        grown = list(self.steps), list(self.token_ids), list(self.logprobs)
        inherited = len(self.steps), len(self.token_ids)
        return Growth(node, self.splitter.fork(), certainty, max_steps, self.whole, *grown, *inherited)

    @property
    def own_tokens(self) -> int:
        """How many tokens its own stream has written."""
        return len(self.token_ids) - self.inherited_tokens

    @property
    def is_long_enough(self) -> bool:
        """Whether its own stream has written as many steps as it was asked for."""
        return self.max_steps is not None and len(self.steps) - self.inherited_steps >= self.max_steps

    def take(self, text: str) -> list[str]:
        """Take more text in and return the steps that it completes."""
        steps = self.splitter.feed(text)
        return [] if self.whole else self._keep(steps)

    def take_chunk(self, chunk: Chunk) -> list[str]:
        """Take a piece of the stream in and return the steps that it completes.

        Raises `EngineError` where certainty is wanted and the log-probabilities do not tell it.
        """
        self.token_ids.extend(chunk.token_ids)
        self.logprobs.extend(entry for entry in chunk.logprobs if entry.listed)
        if self.certainty is not None:
            self._judge(self.certainty, chunk)
        return self.take(chunk.text)

    def take_rest(self) -> list[str]:
        """Return the step that only the end of the stream has completed, if there is one."""
        last = self.splitter.solution if self.whole else self.splitter.rest()
        return self._keep([last] if last.strip() else [])

    def paused(self) -> Paused:
        """Return the event of the pause after the last step that was asked for."""
        return Paused(self.node, self.certainty.value if self.certainty is not None else None)

    def ended(self, reason: EndReason, answer: Answer | None) -> Ended:
        """Return the event of the stream's end."""
        certainty = self.certainty.value if self.certainty is not None else None
        return Ended(self.node, reason, self.splitter.text, answer, certainty)

    @staticmethod
    def _judge(certainty: Certainty, chunk: Chunk) -> None:
        try:
            for token in chunk.logprobs:
                certainty.add(token.sampled, token.top)
        except ValueError as cause:
            raise EngineError(
                f"The policy's log-probabilities cannot be judged: {cause}.",
                hint="Use a reward model, or sampling without top_k, top_p and min_p.",
            ) from cause

    def _keep(self, steps: list[str]) -> list[str]:
        self.steps.extend(steps)
        return steps
