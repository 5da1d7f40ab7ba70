"""The log-probabilities of label tokens: a completion of one token, which reads the prefix cache and tells so."""

from math import isfinite
from typing import Any

from reward_models.protocol import Answer
from service.engines.completion import billed, put
from service.engines.failures import aborted, unusable
from service.engines.fleet import Fleet
from service.engines.readings.reading import Json, Ready, given_up_by_name
from service.engines.sampling import sampling_body
from service.errors import EngineError
from service.search.ports import Bill, Sampling


async def read_next_token(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    """Read one row: the natural log-probability of each of the request's labels as the next token."""
    body = {
        "prompt": ready.prompt,
        "max_tokens": 1,
        # What is sampled is thrown away; temperature 1 leaves even processed log-probabilities alone.
        **sampling_body(Sampling(temperature=1.0)),
        "logprobs": len(ready.labels),
        "logprob_token_ids": ready.labels,
        "return_tokens_as_token_ids": True,
    }

    async def ask(request_id: str) -> Json:
        answer = await engine.post("/v1/completions", body, request_id=request_id, place=ready.place)
        if (told := billed(answer.get("usage"))) is not None:
            put(told, bill)
        return answer

    return Answer(rows=(_labels(engine, await given_up_by_name(engine, ask), ready.labels),))


def _labels(engine: Fleet, answer: Json, labels: tuple[int, ...]) -> tuple[float, ...]:
    try:
        choice = answer["choices"][0]
        if choice.get("finish_reason") == "abort":
            raise aborted(engine.title)
        top: dict[str, Any] = choice["logprobs"]["top_logprobs"][0]
        logprobs = tuple(float(top[f"token_id:{label}"]) for label in labels)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as cause:
        raise _no_labels(engine) from cause
    if not all(isfinite(logprob) for logprob in logprobs):
        raise _no_labels(engine)
    return logprobs


def _no_labels(engine: Fleet) -> EngineError:
    return unusable(
        engine.title,
        "did not give the log-probabilities of all labels",
        hint="It must be a vLLM that knows logprob_token_ids; `mull doctor` shows what it does.",
    )
