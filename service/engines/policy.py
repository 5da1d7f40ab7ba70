"""A policy model behind vLLM servers."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from service.engines.abort import new_request_id
from service.engines.completion import CompletionReader
from service.engines.constrained import constraint_body
from service.engines.cut_off import untold
from service.engines.failures import for_good, rubbish, unusable
from service.engines.fleet import Fleet
from service.engines.readiness import any_ready
from service.engines.sampling import sampling_body
from service.engines.step_stops import StepStops, find_stops
from service.engines.template import render
from service.engines.tokenizer import EngineTokenizer
from service.errors import EngineError, EngineTimeout, InvalidRequest, QuestionTooLong
from service.search.ports import NO_VARIABLES, Bill, Chunk, Place, Sampling
from service.settings import PolicySettings

REMEMBERED_PROMPTS = 256
# Tokens per streamed event: the fewer events, the less there is to handle, and the later a step is told. At 16 instead
# of 8, best-of-16 with 4 in flight pays 4 % more tokens, and a candidate costs us a quarter less CPU time.
# Where the end of a step may show in the text alone, its reader closes the stream there, and is told every token.
TOKEN_BY_TOKEN, STEP_BY_STEP, IN_LARGE_PIECES = 1, 8, 16
NO_STOPS = StepStops({}, exact=True)


class VllmPolicy:
    """Implements `ports.Policy`; `aclose` closes the engine's connections."""

    def __init__(self, settings: PolicySettings, engine: Fleet) -> None:
        self._settings = settings
        self._engine = engine
        self._tokenizer = EngineTokenizer(self._engine, size=REMEMBERED_PROMPTS)
        self._form = settings.prompt
        self._steps = settings.steps
        self._stops: StepStops | None = None
        self._finding_stops = asyncio.Lock()
        self._context: int | None = None

    async def open(self) -> None:
        """Learn the context length, once. Raises `EngineError` where the engine cannot tell."""
        if self._context is None:
            self._context = await self._engine.context_length()

    @property
    def context(self) -> int:
        """The longest prompt plus continuation, in tokens; known after `open`."""
        if self._context is None:
            raise RuntimeError("open() the policy before asking for its context")
        return self._context

    async def prompt_ids(
        self, messages: Sequence[dict[str, str]], variables: Mapping[str, Any] = NO_VARIABLES
    ) -> tuple[int, ...]:
        """Return a chat under the policy's prompt form, ready to be continued.

        Raises `InvalidRequest` where the template refuses the messages, `QuestionTooLong`, or `EngineError`.
        """
        chat = _with_system(messages, self._form.system)
        if self._form.template_file is None:
            return await self._checked(await self._tokenizer.chat(chat, variables=variables))
        return await self._checked(await self._tokenizer.text(render(self._form.template_file, chat, variables)))

    async def text_ids(self, text: str) -> tuple[int, ...]:
        """Return raw text with the model's own special tokens. Raises `QuestionTooLong` or `EngineError`."""
        return await self._checked(await self._tokenizer.text(text, special=True))

    async def stream(
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
        """Continue `prompt` by at most `max_tokens`; see `ports.Policy` for what closing and cancelling do.

        `seed` is in [0, 2^63). The last chunk, and only that, has a finish reason; `bill` is final when it comes. Text
        lags behind the token ids where a character or a stop string may not be complete, but not any more where the
        stream breaks off and can be gone on with. Raises `QuestionTooLong` or `EngineError`; `bill` then holds what was
        seen.

        With `stop_at_step` the engine ends the stream with the first token that completes a separator, as far as
        `find_stops` knows such tokens. Where it may not know them all the pieces are single tokens, so that a reader
        who closes the stream at a step has paid for little more. `stop` strings are looked for in what this request
        writes, the separator included.
        """
        bill.exact = True  # as long as nothing is asked
        await self.open()
        if len(prompt) + max_tokens > self.context:  # vLLM would generate less, and not say so
            raise self._too_long(f"{len(prompt)} prompt tokens and {max_tokens} to generate")
        stops = await self._step_stops() if stop_at_step else NO_STOPS
        own_stops = sampling.extras.stop_token_ids or ()
        pieces = STEP_BY_STEP if eager else IN_LARGE_PIECES
        if stop_at_step:
            pieces = IN_LARGE_PIECES if stops.exact else TOKEN_BY_TOKEN
        step_ends = {token: text for token, text in stops.texts.items() if token not in own_stops}
        body = {
            "prompt": prompt,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": sampling.stop,
            **sampling_body(sampling),
            **constraint_body(sampling.constraint),
            "stream": True,
            "stream_options": {"include_usage": True},
            "stream_interval": pieces,
            "return_token_ids": True,
        }
        if sampling.extras.min_tokens is not None:
            body["min_tokens"] = min(sampling.extras.min_tokens, max_tokens)  # what is left of a budget may be less
        if step_ends:
            body["stop_token_ids"] = [*own_stops, *step_ends]
        if sampling.logprobs is not None:
            body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": not sampling.texts}
        # What only the engine can know is wrong, such as an id that its vocabulary has not got.
        bad_request = InvalidRequest if sampling.extras.told or sampling.texts or sampling.constraint else EngineError
        reader = CompletionReader(
            self._engine.title,
            prompt=len(prompt),
            logprobs=sampling.logprobs,
            texts=sampling.texts,
            bad_request=bad_request,
            bill=bill,
            stop=sampling.stop,
            step_ends=step_ends,
            constraint=sampling.constraint,
        )
        request_id = new_request_id()
        answer = self._engine.stream(
            "/v1/completions", body, request_id=request_id, bad_request=bad_request, place=place
        )
        bill.exact = False
        last: Chunk | None = None
        written: list[int] = []
        told: list[str] = []
        try:
            while (event := await answer.event()) is not None:
                chunk = reader.chunk(event)
                if chunk is not None and chunk.finish_reason is None:
                    written += chunk.token_ids
                    told.append(chunk.text)
                    yield chunk
                else:
                    last = chunk or last  # and read to the end, where the bill is
            if last is None:
                raise rubbish(self._engine.title, "ended its stream before the text was finished")
            yield last
        except (asyncio.CancelledError, GeneratorExit):
            if not bill.exact:
                await self._engine.give_up(request_id, lambda: reader.read_on(answer))
            raise
        except EngineError as error:
            answer.blame(error)
            bill.exact = bill.exact or answer.refused or not error.begun
            if isinstance(error, EngineTimeout) and len(self._engine.replicas) == 1:
                raise for_good(error) from error  # it has had its time
            if error.elsewhere and written:
                left = await untold(self._tokenizer.decode, prompt, written, "".join(told), sampling.stop)
                if left is None:
                    raise for_good(error) from error
                if left:
                    yield Chunk(left, ())
            raise
        finally:
            await answer.aclose()

    async def ready(self) -> tuple[str, ...]:
        """Generate one token for real; return what is wrong with servers that cannot, beside one that can.

        Raises `EngineError` where none can.
        """
        each = self._engine.each()
        policies = [self] if len(each) == 1 else [VllmPolicy(self._settings, one) for one in each]
        return await any_ready([policy._write_one() for policy in policies])

    async def aclose(self) -> None:
        """Close the connections to the engine."""
        await self._engine.aclose()

    async def _write_one(self) -> None:
        prompt = await self.prompt_ids([{"role": "user", "content": "1 + 1 = ?"}])
        stream = self.stream(prompt, max_tokens=1, sampling=Sampling(temperature=1.0), seed=0, bill=Bill())
        async with aclosing(stream):
            generated = sum([len(chunk.token_ids) async for chunk in stream])
        if generated != 1:
            raise unusable(self._engine.title, f"generated {generated} tokens when asked for one")

    async def _step_stops(self) -> StepStops:
        if self._stops is None:
            async with self._finding_stops:
                if self._stops is None:
                    self._stops = await find_stops(self._steps, self._tokenizer)
        return self._stops

    async def _checked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        await self.open()
        if len(ids) >= self.context:
            raise self._too_long(f"{len(ids)} prompt tokens")
        return ids

    def _too_long(self, what: str) -> QuestionTooLong:
        return QuestionTooLong(
            f"{what} do not fit: the {self._engine.title} takes {self.context} tokens in all.",
            hint="Shorten the question or lower max_completion_tokens.",
            param="messages",
        )


def _with_system(messages: Sequence[dict[str, str]], system: str | None) -> list[dict[str, str]]:
    """Put the configured system message first where there is none; `developer` is OpenAI's newer word for `system`."""
    chat = [
        {
            "role": "system" if message["role"] == "developer" else message["role"],
            "content": message["content"],
        }
        for message in messages
    ]
    if system is not None and not any(message["role"] == "system" for message in chat):
        return [{"role": "system", "content": system}, *chat]
    return chat
