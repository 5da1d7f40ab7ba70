"""A policy as the judge of a solution that it is given: how sure it is of each step, without a reward model."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Any

from reward_models.protocol import Reads
from service.engines.completion import billed, put
from service.engines.failures import aborted, unusable
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.readings.reading import Json, given_up_by_name
from service.engines.sampling import sampling_body
from service.engines.tokenizer import EngineTokenizer
from service.errors import EngineError, InvalidRequest, QuestionTooLong
from service.search.ports import Bill, Sampling
from service.settings import PolicySettings
from strategies.certainty import Certainty
from strategies.spec import ScoreSpec

REMEMBERED_TEXTS = 256
CLAMPED = -9999.0
"""What vLLM writes for a log-probability of minus infinity, which JSON does not have."""


@dataclass(frozen=True, slots=True)
class _Solution:
    """A question and its solution as one prompt; `spans` are the places of each step's tokens in `ids`."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class PolicyScorer:
    """Implements `ports.Scorer`. `engine` is the policy's; `aclose` closes it.

    `source` says what is read of a step's tokens (`strategies.certainty`), and each is brought into [0, 1]:
    `mean_logprob` m ≤ 0 as exp(m), the geometric mean of their probabilities; `self_certainty@k` c ≥ 0 as c / (1 + c),
    which keeps its order. Neither is the probability that a step is right.

    The chat and the steps are tokenised piece by piece, each step but the last together with the first separator of the
    policy's `StepForm` (a line end where it has none), and it is judged by all of these tokens. The last one is taken
    for the end of the solution. One request reads a whole solution: vLLM does not use its prefix cache for a prompt
    whose log-probabilities are wanted.

    Raises `ValueError` for a `source` that needs a reward model, and for a policy whose template opens its thinking.
    """

    def __init__(self, settings: PolicySettings, engine: Fleet, source: str) -> None:
        top = ScoreSpec.model_validate({"source": source}).logprobs
        if top is None:
            raise ValueError(f"{source} is not read from a policy")
        if settings.steps.thinking == "opened":
            raise ValueError("its template opens a thinking part, in which a given solution would stand")
        self._top = top
        self._engine = engine
        self._tokenizer = EngineTokenizer(self._engine, size=REMEMBERED_TEXTS)
        self._policy = VllmPolicy(settings, engine)
        self._separator = next(iter(settings.steps.separators), "\n")

    async def open(self) -> None:
        """Learn the context length, once. Raises `EngineError` where the engine cannot tell."""
        await self._policy.open()

    @property
    def reads(self) -> Reads:
        """One request reads a whole solution."""
        return "solution"

    @property
    def context(self) -> int:
        """The longest prompt plus one token, in tokens; known after `open`."""
        return self._policy.context

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """Return how many tokens `score` would submit, without submitting any. Raises what `score` raises."""
        return len((await self._tokenised(question, steps)).ids)

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Return one score in [0, 1] for each of `steps[first:]`, by one request for all of them.

        Raises `QuestionTooLong` and, for an empty last step, `InvalidRequest`, before it submits anything; or
        `EngineError`. `bill` is final when the call ends; cancelling it aborts the request.
        """
        bill.exact = True  # as long as nothing is submitted
        solution = await self._tokenised(question, steps)
        bill.exact = False
        place = self._engine.place(question.encode(), *steps)
        body = {
            "prompt": solution.ids,
            "max_tokens": 1,
            # What is sampled is thrown away; temperature 1 leaves even processed log-probabilities alone.
            **sampling_body(Sampling(temperature=1.0)),
            "prompt_logprobs": self._top,
        }

        async def ask(request_id: str) -> Json:
            answer = await self._engine.post("/v1/completions", body, request_id=request_id, place=place)
            if (told := billed(answer.get("usage"))) is not None:
                put(told, bill)
            return answer

        answer = await given_up_by_name(self._engine, ask)
        try:
            listed = self._listed(answer)
            return tuple(self._score(listed, solution.ids, *span) for span in solution.spans[first:])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as cause:
            raise self._no_logprobs() from cause

    async def ready(self) -> None:
        """Score one step for real. Raises `EngineError` where that does not work."""
        await self.score("What is 1 + 1?", ["1 + 1 = 2"], 0, Bill())

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self._engine.aclose()

    async def _tokenised(self, question: str, steps: Sequence[str]) -> _Solution:
        ids = list(await self._policy.prompt_ids([{"role": "user", "content": question}]))
        spans = []
        for place, step in enumerate(steps):
            end = self._separator if place < len(steps) - 1 else ""
            text = step.strip() + end
            begin = len(ids)
            ids += await self._tokenizer.text(text) if text else ()
            if len(ids) == begin:
                raise InvalidRequest("The last step is empty: nothing can be read from no token.", param="steps")
            spans.append((begin, len(ids)))
        if len(ids) + 1 > self.context:
            raise QuestionTooLong(
                f"Question and steps are {len(ids)} tokens, and one is written; the {self._engine.title} takes "
                f"{self.context} in all.",
                hint="Shorten the question or the solution.",
                param="messages",
            )
        return _Solution(tuple(ids), tuple(spans))

    def _listed(self, answer: Json) -> list[Any]:
        """Return what is known of each token of the prompt."""
        choice = answer["choices"][0]
        if choice.get("finish_reason") == "abort":
            raise aborted(self._engine.title)
        return list(choice["prompt_logprobs"])

    def _score(self, listed: list[Any], ids: tuple[int, ...], begin: int, end: int) -> float:
        """Raises what comes of an answer of another form, and `ValueError` where the value cannot be had."""
        certainty = Certainty(self._top)
        for place in range(begin, end):
            # The prompt's own token is listed with the most probable ones, whether it is one or not.
            known = {token: _finite(entry["logprob"]) for token, entry in listed[place].items()}
            certainty.add(known[str(ids[place])], tuple(known.values()))
        value = certainty.value
        if value is None:
            raise ValueError("a step without tokens")
        return exp(value) if self._top == 0 else value / (1.0 + value)

    def _no_logprobs(self) -> EngineError:
        return unusable(
            self._engine.title,
            "did not give the log-probabilities of the solution's tokens",
            hint=f"It must be a vLLM that knows prompt_logprobs and allows {self._top}: --max-logprobs.",
        )


def _finite(logprob: Any) -> float:
    value = float(logprob)
    return value if value > CLAMPED else -inf
