"""What a client may send: OpenAI's request bodies, strict, with one object of ours."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.gateway.constrained import ResponseFormat, StructuredOutputs
from service.gateway.template_kwargs import TemplateKwargs
from service.public_model import NamedStrategy, ReasoningEffort
from service.search.answer_spec import AnswerSpec, named
from service.search.request import Budget
from service.search.sampling import SamplingSpec
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


class MullOptions(Body):
    """How to search, and how much it may spend."""

    strategy: NamedStrategy | None = Field(
        None, description="A strategy's name, or an object with its name and parameters."
    )
    score: ScoreSpec | None = Field(
        None, description="For strategies that score: how step scores are reduced, how candidates are selected."
    )
    answer: Annotated[AnswerSpec | None, BeforeValidator(named)] = Field(
        None,
        description="A kind of answer, or an object with its `kind`. Default: math, and exact for an answer whose form "
        "is given (`response_format`, `structured_outputs`).",
    )
    budget: Budget = Field(
        Budget(), description="Limits of this search. At a limit the best answer so far is returned."
    )
    dry_run: bool = Field(
        False, description="Spend nothing: answer with the plan of the search and an estimate of what it would cost."
    )
    include: list[Literal["candidates", "trace"]] = Field(
        [],
        description="`candidates`: show every candidate. `trace`: show all that happened, as `mull replay` reads it.",
    )
    progress: Literal["none", "reasoning", "events"] | None = Field(
        None,
        description="What a stream tells before the answer. `reasoning`: a line now and then, as reasoning (default "
        "in chats whose policy does not think by itself); `events`: all that happens, numbered, in `mull.event` of "
        "chunks that are empty otherwise. Of a search with one candidate the text is streamed as it is written.",
    )


class StreamOptions(Body):
    """What a stream holds beside the answer."""

    include_usage: bool | None = Field(None, description="Send `usage` in a chunk of its own at the end.")
    include_obfuscation: Literal[False] | None = None
    continuous_usage_stats: Literal[False] | None = Field(None, description="vLLM's; usage is told at the end only.")


class Ask(SamplingSpec):
    """What chats and completions have in common."""

    model: str
    max_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Caps each candidate, in tokens. Default: the policy's own."
    )
    n: int | None = Field(
        None, ge=1, le=1024, description="The n best distinct answers of one search; fewer if it finds fewer."
    )
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1,
        description="Default 0: the same request is searched in the same way. Vary it for another search.",
    )
    response_format: ResponseFormat | None = Field(
        None, description="The form of every candidate. Not with strategies that sample single steps."
    )
    structured_outputs: StructuredOutputs | None = Field(
        None, description="vLLM's: the form of every candidate. Not with strategies that sample single steps."
    )
    stream: bool | None = Field(None, description="Send the answer as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream: true`.")
    user: str | None = Field(None, description="Accepted without effect.")
    safety_identifier: str | None = Field(None, description="Accepted without effect.")
    metadata: dict[str, str] | None = Field(None, description="Accepted without effect.")
    prompt_cache_key: str | None = Field(None, description="Accepted without effect.")
    request_id: str | None = Field(None, description="vLLM's. Accepted without effect: send the header x-request-id.")
    session_id: str | None = Field(None, description="vLLM's. Accepted without effect.")
    mull: MullOptions = MullOptions()

    @property
    def effort(self) -> ReasoningEffort | None:
        """What the request asks for in OpenAI's own words."""
        return None

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the most probable tokens' log-probabilities are to come with each token; `None`: none at all."""
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

    logprobs: bool | None = Field(
        None, description="Whether the log-probabilities of the choices' tokens are shown; the policy's own, unscaled."
    )
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="With `logprobs`: so many most probable tokens at each place, too."
    )
    parallel_tool_calls: bool | None = Field(None, description="Accepted without effect: there are no tools.")
    chat_template_kwargs: TemplateKwargs | None = Field(
        None, description="vLLM's: variables for the policy's chat template, such as `enable_thinking`."
    )

    @property
    def effort(self) -> ReasoningEffort | None:
        """What the request asks for in OpenAI's own words."""
        return self.reasoning_effort

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the most probable tokens' log-probabilities are to come with each token; `None`: none at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


def _alone(prompt: Any) -> Any:
    """Take a list of one text for the text: OpenAI's lists are several requests in one."""
    if not isinstance(prompt, list):
        return prompt
    if len(prompt) != 1 or not isinstance(prompt[0], str):
        raise ValueError("one text is searched at a time: send a string, and several requests for several prompts")
    return prompt[0]


Prompt = Annotated[
    str,
    BeforeValidator(_alone),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1},
            ]
        }
    ),
]
"""A text, or a list of one."""


class CompletionAsk(Ask):
    """Body of POST /v1/completions: text to be continued as it is, without a chat template."""

    prompt: Prompt
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="The log-probabilities of the choices' tokens, and of so many most probable ones at each place; "
        "the policy's own, unscaled.",
    )

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the most probable tokens' log-probabilities are to come with each token; `None`: none at all."""
        return self.logprobs
