"""A text that a chat model writes: a streamed completion, since a long one is no silence."""

import asyncio

from reward_models.protocol import Answer, Critique
from service.engines.abort import new_request_id
from service.engines.completion import CompletionReader, put
from service.engines.failures import rubbish
from service.engines.fleet import Fleet
from service.engines.readings.reading import Ready
from service.engines.sampling import sampling_body
from service.errors import EngineError
from service.search.ports import Bill, Sampling

TOKENS_PER_EVENT = 16
"""Nobody reads along; an engine that is slow must still be heard within its `timeout_s`."""


async def read_critique(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    """Read what the model writes after the prompt; no text where `ready.generated` tokens were too few.

    Being cancelled aborts the request by name. `bill` has the prompt and the tokens that were generated. One that is
    cut off is written anew elsewhere: nobody has read it yet. Its bill is then no longer the engine's.
    """
    try:
        return await _written(engine, ready, bill)
    except EngineError as error:
        if not engine.pays_again(error):
            raise
    again = Bill()
    try:
        return await _written(engine, ready, again)
    finally:
        put(Bill(bill.prompt + again.prompt, None, bill.generated + again.generated), bill)


async def _written(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    request = ready.request
    if not isinstance(request, Critique):
        raise TypeError(f"{type(request).__name__} is read otherwise")
    body = {
        "prompt": ready.prompt,
        "max_tokens": ready.generated,
        "seed": request.seed,
        **sampling_body(Sampling(temperature=request.temperature, top_p=request.top_p)),
        "stream": True,
        "stream_options": {"include_usage": True},
        "stream_interval": TOKENS_PER_EVENT,
        "return_token_ids": True,
    }
    reader = CompletionReader(engine.title, prompt=len(ready.prompt), logprobs=None, bill=bill)
    request_id = new_request_id()
    answer = engine.stream("/v1/completions", body, request_id=request_id, place=ready.place)
    text, ended = "", None
    try:
        while (event := await answer.event()) is not None:
            if (chunk := reader.chunk(event)) is not None:
                text += chunk.text
                ended = chunk.finish_reason or ended
        if ended is None:
            raise rubbish(engine.title, "ended its stream before the text was finished")
    except asyncio.CancelledError:
        if not bill.exact:
            await engine.give_up(request_id, lambda: reader.read_on(answer))
        raise
    except EngineError as error:
        answer.blame(error)
        raise
    finally:
        await answer.aclose()
    return Answer(text=text if ended == "stop" else "", steps=request.steps)
