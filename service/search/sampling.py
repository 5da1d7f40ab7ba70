"""How a policy is asked to sample, as clients say it: OpenAI's fields, and those of vLLM's that a search can bear."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

MOST_IDS = 1024
"""Token ids that one list may hold."""
MOST_WORDS = 64
"""Bad words that a request may name: vLLM takes 128 tokenised forms, and makes two of most words."""
MOST_BIASES = 300
"""Token ids that may be biased at once, as with OpenAI."""

_OFF: Mapping[str, Any] = {
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "logit_bias": {},
    "bad_words": [],
    "min_tokens": 0,
    "stop_token_ids": [],
    "include_stop_str_in_output": False,
    "ignore_eos": False,
    "thinking_token_budget": -1,
}
"""Values that ask for nothing: a request with one of them is the same as one without."""


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _stops(value: Any) -> Any:
    return () if value is None else (value,) if isinstance(value, str) else _several(value)


_STOP_TEXT = {"type": "string", "minLength": 1, "maxLength": 256}
_STOP_TEXTS = {"type": "array", "items": _STOP_TEXT, "maxItems": 4}
Stop = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    Field(max_length=4),
    BeforeValidator(_stops),
    WithJsonSchema({"oneOf": [_STOP_TEXT, _STOP_TEXTS, {"type": "null"}]}),
]
"""One text, or up to four."""
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[tuple[TokenId, ...], Field(max_length=MOST_IDS), BeforeValidator(_several)]
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    Field(max_length=MOST_WORDS),
    BeforeValidator(_several),
]
Biases = Annotated[
    dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=MOST_BIASES),
]
"""A bias by token id; the ids are the keys of a JSON object, which are texts."""


class Extras(BaseModel):
    """What the policy's engine is told beside temperature, top_p, top_k, min_p and stop; `None` is off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Once for every token that the candidate already has. Whole solutions only."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="For each time that the candidate already has it. Whole solutions only."
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=10, description="vLLM's: factor for tokens that the prompt or the candidate has; 1 is off."
    )
    logit_bias: Biases | None = Field(None, description="Added to the logits of these token ids, -100 to 100.")
    allowed_token_ids: TokenIds | None = Field(None, min_length=1, description="vLLM's: only these are sampled.")
    bad_words: Words | None = Field(
        None, description="vLLM's: texts that a candidate does not come to. Whole solutions only."
    )
    min_tokens: int | None = Field(
        None, ge=0, le=1_000_000, description="vLLM's: fewest tokens of a candidate. Whole solutions only."
    )
    stop_token_ids: TokenIds | None = Field(None, description="vLLM's: token ids at which a candidate ends.")
    include_stop_str_in_output: bool | None = Field(
        None, description="vLLM's: the stop text is part of the candidate. Whole solutions only."
    )
    ignore_eos: bool | None = Field(
        None, description="vLLM's: the model's own end does not end a candidate; its answer and its token cap still do."
    )
    thinking_token_budget: int | None = Field(
        None,
        ge=-1,
        le=1_000_000,
        description="vLLM's: most tokens of thinking, where the engine knows it; -1 is off. Whole solutions only.",
    )

    @model_validator(mode="before")
    @classmethod
    def _off_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if not (key in _OFF and _same(value, _OFF[key]))}

    @property
    def told(self) -> dict[str, Any]:
        """What is said to the engine, by vLLM's names."""
        return {name: value for name in Extras.model_fields if (value := getattr(self, name)) is not None}


NO_EXTRAS = Extras()


class SamplingSpec(Extras):
    """Sampling as asked for by the client; `None` leaves the policy's own setting."""

    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Default: the policy's own. 0 is greedy decoding where there is one candidate; a search of "
        "several ignores it with a warning, since they would all be the same.",
    )
    top_p: float | None = Field(None, gt=0, le=1, description="Default: the policy's own.")
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="vLLM's; 0 or -1 considers all tokens.")
    min_p: float | None = Field(None, ge=0, le=1, description="vLLM's: least probability relative to the best token's.")
    stop: Stop = Field((), description="Up to 4 texts at which a candidate ends; they are not part of it.")

    @property
    def extras(self) -> Extras:
        """What goes beside temperature, top_p, top_k, min_p and stop."""
        return Extras(**self.told)


def _same(value: Any, off: Any) -> bool:
    """Tell whether a value asks for nothing. False == 0 in Python, but false is no penalty of 0."""
    if isinstance(value, bool) != isinstance(off, bool):
        return False
    return bool((list(value) if isinstance(value, tuple) else value) == off)
