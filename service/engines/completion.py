"""What vLLM says of one completion: text, token ids, log-probabilities, and its cost."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from service.engines.constrained import error_status, refused_completion, unwritable
from service.engines.failures import aborted, as_bad_request, rubbish, unusable
from service.engines.stream import EngineStream
from service.errors import EngineError, MullError
from service.search.constraint import Constraint
from service.search.ports import Bill, Chunk, TokenLogprobs

_OLD = "It must be vLLM 0.10.2 or newer."


class CompletionReader:
    """Reads the events of one streamed completion, and keeps its bill.

    `prompt` is the number of tokens sent, `logprobs`, `texts`, `stop` and `constraint` what was asked for (see
    `Sampling`), `step_ends` the text of each token at which the engine was told to stop. Until the engine has told its
    usage, `bill` holds what was seen. Methods raise `EngineError` and its children, `QuestionTooLong`, and
    `InvalidRequest` where the engine does not take the request.
    """

    def __init__(
        self,
        engine: str,
        *,
        prompt: int,
        logprobs: int | None,
        texts: bool = False,
        bad_request: type[MullError] = EngineError,
        bill: Bill,
        stop: Sequence[str] = (),
        step_ends: Mapping[int, str] | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._logprobs = logprobs
        self._texts = texts
        self._bad_request = bad_request
        self._bill = bill
        self._stop = stop
        self._step_ends = step_ends or {}
        self._constraint = constraint

    def count(self, event: bytes) -> dict[str, Any] | None:
        """Put what an event says of the cost onto the bill; return its choice, if it has one."""
        if event == b"[DONE]":
            return None
        frame = self._frame(event)
        if choices := frame.get("choices"):
            choice = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
            ids = choice.get("token_ids")
            if isinstance(ids, list) and ids:
                # vLLM counts a prompt once its first token is there.
                self._bill.prompt, self._bill.cached = self._prompt, None
                self._bill.generated += len(ids)
            return choice
        if (told := billed(frame.get("usage"))) is not None:
            put(told, self._bill)
        return None

    def chunk(self, event: bytes) -> Chunk | None:
        """Return what an event adds to the text; `None` for one that adds nothing."""
        choice = self.count(event)
        if choice is None:
            return None
        text, ids, reason = choice.get("text"), choice.get("token_ids"), choice.get("finish_reason")
        if not isinstance(text, str) or not isinstance(ids, list):
            raise rubbish(self._engine, "sent text without token ids", hint=_OLD)
        if reason == "abort":
            raise aborted(self._engine)
        if reason == "error" and self._constraint is not None:
            raise unwritable(self._engine, self._constraint)
        if reason not in (None, "stop", "length"):
            raise rubbish(self._engine, f"gave up while generating ({reason})")
        logprobs = () if self._logprobs is None else self._read_logprobs(choice.get("logprobs"), len(ids))
        text, reason = self._end(text, reason, choice)
        return Chunk(text, tuple(ids), reason, logprobs)

    async def read_on(self, answer: EngineStream) -> None:
        """Read what is left of a stream onto the bill: its cost, and the text that nobody has waited for."""
        while (event := await answer.event()) is not None:
            choice = self.count(event)
            if choice is not None:
                self._bill.unread = self._joined(self._bill.unread, choice)

    def _frame(self, event: bytes) -> dict[str, Any]:
        try:
            frame = json.loads(event)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            raise rubbish(self._engine, "sent an event that is not JSON")
        if "error" in frame:
            failure = refused_completion(self._engine, frame, event, self._constraint)
            raise as_bad_request(failure, error_status(frame), self._bad_request)
        return frame

    def _end(self, text: str, reason: str | None, choice: dict[str, Any]) -> tuple[str, str | None]:
        """Return the text and the reason of a piece that may be the last: "step" where the end is a separator's token.

        vLLM leaves that token's text out, so it does not look for the caller's own stop strings there.
        """
        token = choice.get("stop_reason")  # a string for a stop string, null for the end of the model's text
        if reason != "stop" or not isinstance(token, int) or token not in self._step_ends:
            return text, reason
        text += self._step_ends[token]
        stops = [(begin + len(stop), begin) for stop in self._stop if (begin := text.find(stop)) >= 0]
        return (text[: min(stops)[1]], "stop") if stops else (text, "step")

    def _joined(self, unread: Chunk | None, choice: dict[str, Any]) -> Chunk:
        text, ids, reason = choice.get("text"), choice.get("token_ids"), choice.get("finish_reason")
        text, reason = self._end(text if isinstance(text, str) else "", reason, choice)
        before = unread or Chunk("", ())
        return Chunk(
            before.text + text,
            (*before.token_ids, *(ids if isinstance(ids, list) else ())),
            reason if reason in ("stop", "length", "step") else None,
        )

    def _read_logprobs(self, given: Any, count: int) -> tuple[TokenLogprobs, ...]:
        """Return one entry per token. vLLM lists the sampled token with the top ones, whether it is one or not."""
        try:
            tokens = given["tokens"] if self._texts else [""] * count
            read = tuple(
                self._entry(_text(token), _number(sampled), listed)
                for token, sampled, listed in zip(tokens, given["token_logprobs"], given["top_logprobs"], strict=True)
            )
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            raise self._no_logprobs() from cause
        top = 0 if self._texts else self._logprobs or 0  # tokens of equal text are one entry
        if len(read) != count or any(len(entry.top) < top for entry in read):
            raise self._no_logprobs()
        return read

    def _entry(self, token: str, sampled: float, listed: Mapping[str, Any]) -> TokenLogprobs:
        ranked = sorted(((text, _number(value)) for text, value in listed.items()), key=lambda entry: -entry[1])
        top = tuple(value for _, value in ranked[: self._logprobs or 0])
        return TokenLogprobs(sampled, top, token, tuple(ranked) if self._texts else ())

    def _no_logprobs(self) -> EngineError:
        return unusable(
            self._engine,
            f"did not give the log-probabilities of each token and of the {self._logprobs} most probable ones",
            hint=f"{_OLD} It must allow as many: --max-logprobs.",
        )


def billed(usage: Any) -> Bill | None:
    """Return what vLLM's usage object says, in terms of its own counters; `None` if it says nothing.

    A request that was aborted before its first token has a prompt in its usage, which vLLM's counters never see.
    """
    if not isinstance(usage, dict):
        return None
    prompt, generated = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(generated, int):
        return None
    if generated == 0:
        return Bill(exact=True)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Bill(prompt, cached if isinstance(cached, int) else None, generated, exact=True)


def put(told: Bill, bill: Bill) -> None:
    """Make `bill` say what `told` says."""
    bill.prompt, bill.cached, bill.generated, bill.exact = told.prompt, told.cached, told.generated, told.exact


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"{value!r} is no log-probability")
    return value


def _text(token: Any) -> str:
    if not isinstance(token, str):
        raise TypeError(f"{token!r} is no token's text")
    return token
