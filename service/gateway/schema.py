"""What a client may send: OpenAI's request bodies, strict, with one object of ours."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.search.request import Budget
from service.settings import ReasoningEffort
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec


class Body(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _joined(content: Any) -> Any:
    """Join a list of text parts; anything else is left to the type check."""
    if not isinstance(content, list):
        return content
    for part in content:
        if not (isinstance(part, dict) and set(part) == {"type", "text"} and part["type"] == "text"):
            raise ValueError('only parts of the form {"type": "text", "text": "…"} are read')
        if not isinstance(part["text"], str):
            raise ValueError("the text of a part must be a string")
    return "".join(part["text"] for part in content)


_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Content = Annotated[
    str,
    BeforeValidator(_joined),
    WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]}),
]
"""Text, or a list of text parts that are joined."""


class ChatMessage(Body):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: str | None = Field(None, description="Accepted without effect.")
    type: Literal["text"] | None = Field(None, description="Accepted without effect: some clients mark text so.")


class AnswerSpec(Body):
    """How answers are read and compared: `math` takes `\\boxed{…}` and pools equal values (1/2, 0.5)."""

    kind: Literal["math"] = "math"


def _named(strategy: Any) -> Any:
    """Write a bare name as an object."""
    return {"name": strategy} if isinstance(strategy, str) else strategy


class MullOptions(Body):
    """How to search, and how much it may spend."""

    strategy: Annotated[StrategySpec | None, BeforeValidator(_named)] = Field(
        None, description="A strategy's name, or an object with its name and parameters."
    )
    score: ScoreSpec | None = Field(
        None, description="For strategies that score: how step scores are reduced, how candidates are selected."
    )
    answer: AnswerSpec = AnswerSpec()
    budget: Budget = Field(
        Budget(), description="Limits of this search. At a limit the best answer so far is returned."
    )
    include: list[Literal["candidates", "trace"]] = Field(
        [],
        description="`candidates`: show every candidate. `trace`: show all that happened, as `mull replay` reads it.",
    )
    progress: Literal["none"] = Field("none", description="Progress events are not sent.")


def _listed(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_STOP_TEXT = {"type": "string", "minLength": 1, "maxLength": 256}
Stop = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=256)]],
    Field(max_length=4),
    BeforeValidator(_listed),
    WithJsonSchema({"oneOf": [_STOP_TEXT, {"type": "array", "items": _STOP_TEXT, "maxItems": 4}]}),
]
"""One text, or a list of up to four."""


class Ask(Body):
    """What chats and completions have in common."""

    model: str
    max_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Caps each candidate, in tokens. Default: the policy's own."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Default: the policy's own. 0 is greedy decoding where there is one candidate; a search of "
        "several ignores it with a warning, since they would all be the same.",
    )
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000, description="0 or -1 considers all tokens.")
    min_p: float | None = Field(None, ge=0, le=1)
    n: int | None = Field(
        None, ge=1, le=1024, description="The n best distinct answers of one search; fewer if it finds fewer."
    )
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1,
        description="Default 0: the same request is searched in the same way. Vary it for another search.",
    )
    stop: Stop | None = Field(None, description="Up to 4 texts at which a candidate ends; they are not part of it.")
    user: str | None = Field(None, description="Accepted without effect.")
    metadata: dict[str, str] | None = Field(None, description="Accepted without effect.")
    mull: MullOptions = MullOptions()

    @property
    def effort(self) -> ReasoningEffort | None:
        """What the request asks for in OpenAI's own words."""
        return None


class ChatAsk(Ask):
    """Body of POST /v1/chat/completions."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Caps each candidate, in tokens. Default: the policy's own."
    )
    reasoning_effort: ReasoningEffort | None = Field(
        None, description="How much to search, as the model's configuration says; instead of `mull.strategy`."
    )

    @property
    def effort(self) -> ReasoningEffort | None:
        """What the request asks for in OpenAI's own words."""
        return self.reasoning_effort


class CompletionAsk(Ask):
    """Body of POST /v1/completions: text to be continued as it is, without a chat template."""

    prompt: str
