"""What a client may send to POST /v1/responses, and the search that it asks for: that of a chat in other words."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from service.errors import InvalidRequest
from service.gateway.explain import explain
from service.gateway.plan import Plan, plan
from service.gateway.schema import Body, ChatAsk, MullOptions
from service.gateway.unsupported import Off, without
from service.public_model import ReasoningEffort
from service.settings import Settings

UNSERVED_IN_RESPONSES: Mapping[str, Off] = {
    "tools": Off(([],), "Mull answers by text alone: leave it out."),
    "tool_choice": Off(("none", "auto")),
    "parallel_tool_calls": Off((True, False)),
    "max_tool_calls": Off(),
    "previous_response_id": Off(instead="Send the earlier messages in `input`."),
    "conversation": Off(instead="Send the earlier messages in `input`."),
    "prompt": Off(instead="Send the text itself, in `instructions` and `input`."),
    "include": Off(([],)),
    "truncation": Off(("disabled",), "A question is searched whole or not at all: shorten it."),
    "top_logprobs": Off((0,), "/v1/chat/completions shows log-probabilities."),
    "service_tier": Off(("auto", "default")),
    "moderation": Off(),
    "context_management": Off(([],)),
    "access_programs": Off(),
    "image": Off(),
    "background_options": Off(),
    "prompt_cache_options": Off(),
    "prompt_cache_retention": Off(("in_memory",), "How long prefixes are kept is the engine's affair."),
}
"""OpenAI's fields that Mull knows and does not serve here."""

_IN_A_CHAT = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
"""How a chat calls what is called otherwise here."""

_TEXTS = ("input_text", "output_text")


def _joined(content: Any) -> Any:
    """Join a list of text parts; anything else is left to the type check."""
    if not isinstance(content, list):
        return content
    for part in content:
        if not (isinstance(part, dict) and part.get("type") in _TEXTS and isinstance(part.get("text"), str)):
            raise ValueError('only parts of the form {"type": "input_text", "text": "…"} are read')
        # What an answer's part brings when it is sent back.
        if more := sorted(set(part) - {"type", "text", "annotations", "logprobs"}):
            raise ValueError(f"a part has no field {more[0]!r}")
    return "".join(part["text"] for part in content)


def _messages(given: Any) -> Any:
    """Write a bare text as a message, and leave out what Mull has told of an earlier search (`reasoning`)."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        return given
    return [item for item in given if not (isinstance(item, dict) and item.get("type") == "reasoning")]


_PART = {
    "type": "object",
    "properties": {"type": {"enum": list(_TEXTS)}, "text": {"type": "string"}},
    "required": ["type", "text"],
}


class InputMessage(Body):
    """One turn; what an earlier response's `output` holds may be sent back as it was."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str,
        BeforeValidator(_joined),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": _PART}]}),
    ]
    type: Literal["message"] | None = None
    id: str | None = Field(None, description="Accepted without effect.")
    status: Literal["in_progress", "completed", "incomplete"] | None = Field(
        None, description="Accepted without effect."
    )
    phase: Literal["commentary", "final_answer"] | None = Field(None, description="Accepted without effect.")


_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": _PART}]},
        "type": {"enum": ["message"]},
    },
    "required": ["role", "content"],
}


class Reasoning(Body):
    """How much to search, and whether to tell how it goes."""

    effort: ReasoningEffort | None = Field(
        None, description="How much to search, as the model's configuration says; instead of `mull.strategy`."
    )
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="Any of them: the stream tells now and then how the search goes, as a summary of reasoning."
    )


class TextOptions(Body):
    """The form of the answer."""

    format: dict[str, Any] | None = Field(
        None, description='`{"type": "text"}`, or a JSON schema: `{"type": "json_schema", "name": …, "schema": …}`.'
    )
    verbosity: Literal["medium"] | None = Field(None, description="Accepted without effect.")


class ResponsesStreamOptions(Body):
    """What a stream holds."""

    include_obfuscation: bool | None = Field(None, description="Accepted without effect: nothing is obfuscated.")


class ResponsesAsk(Body):
    """Body of POST /v1/responses."""

    model: str
    input: Annotated[
        list[InputMessage],
        Field(min_length=1, max_length=1000),
        BeforeValidator(_messages),
        WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "items": _MESSAGE, "minItems": 1}]}),
    ] = Field(description="The question, or a chat that ends with it.")
    instructions: str | None = Field(None, description="A system message, put first.")
    background: bool | None = Field(
        None,
        description="Answer at once with a job that is searched for later; it can be retrieved, streamed, cancelled. "
        "Needs Redis.",
    )
    stream: bool | None = Field(None, description="Send the response's events. Of a job only, with `background`.")
    stream_options: ResponsesStreamOptions | None = None
    store: bool | None = Field(
        None, description="Jobs are kept for a time (`jobs.ttl_s`), other responses are not: true is for jobs only."
    )
    max_output_tokens: int | None = Field(
        None, ge=1, le=1_000_000, description="Caps each candidate, in tokens. Default: the policy's own."
    )
    temperature: float | None = Field(None, ge=0, le=2, description="Default: the policy's own.")
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1,
        description="Mull's own here. Default 0: the same request is searched in the same way.",
    )
    reasoning: Reasoning = Reasoning()
    text: TextOptions = TextOptions()
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16, description="Kept with the response, and told with it."
    )
    user: str | None = Field(None, description="Accepted without effect.")
    safety_identifier: str | None = Field(None, description="Accepted without effect.")
    prompt_cache_key: str | None = Field(None, description="Accepted without effect.")
    mull: MullOptions = MullOptions()


def responses_ask(data: Mapping[str, Any]) -> ResponsesAsk:
    """Check a request body. Raises `InvalidRequest` that says what to change."""
    given = {key: value for key, value in without(data, UNSERVED_IN_RESPONSES, "").items() if value is not None}
    try:
        ask = ResponsesAsk.model_validate(given, strict=True)
    except ValidationError as error:
        raise explain(error, ResponsesAsk) from None
    if ask.background and ask.store is False:
        raise InvalidRequest("A job in the background must be stored.", hint="Leave `store` out.", param="store")
    if ask.store and not ask.background:
        raise InvalidRequest(
            "Only jobs are stored.", hint="Add `background: true`, or leave `store` out.", param="store"
        )
    if ask.stream and not ask.background:
        raise InvalidRequest(
            "Only jobs are streamed here.",
            hint="Add `background: true`, or stream from /v1/chat/completions.",
            param="stream",
        )
    if ask.mull.progress not in (None, "none"):
        raise InvalidRequest(
            "Here progress is told as a summary of reasoning.",
            hint='Send {"reasoning": {"summary": "auto"}}.',
            param="mull.progress",
        )
    if ask.mull.dry_run:
        raise InvalidRequest(
            "A response is not planned without being searched for.",
            hint="Ask /v1/chat/completions for the dry run.",
            param="mull.dry_run",
        )
    return ask


def response_plan(ask: ResponsesAsk, settings: Settings) -> Plan:
    """Return the search for `ask`; a job may take longer than other requests. Raises `InvalidRequest`."""
    if ask.background:
        settings = _with_time_for_jobs(ask, settings)
    try:
        return plan(_chat(ask), ChatAsk, settings)
    except InvalidRequest as error:
        name, dot, rest = (error.param or "").partition(".")
        error.param = _IN_A_CHAT.get(name, name) + dot + rest or None
        raise


def _with_time_for_jobs(ask: ResponsesAsk, settings: Settings) -> Settings:
    jobs, wanted = settings.jobs, ask.mull.budget.deadline_ms
    if wanted is not None and wanted > jobs.deadline_ms:
        raise InvalidRequest(
            f"A deadline of {wanted} ms is later than this server allows to jobs: {jobs.deadline_ms} ms.",
            hint="Ask for less, or raise jobs.deadline_ms.",
            param="mull.budget.deadline_ms",
        )
    default = min(jobs.default_deadline_ms, jobs.deadline_ms)
    times = {"deadline_ms": jobs.deadline_ms, "default_deadline_ms": default}
    return settings.model_copy(update={"limits": settings.limits.model_copy(update=times)})


def _chat(ask: ResponsesAsk) -> dict[str, Any]:
    """Return the body of the chat that asks for the same search."""
    messages = [{"role": message.role, "content": message.content} for message in ask.input]
    if ask.instructions is not None:
        messages.insert(0, {"role": "system", "content": ask.instructions})
    chat = {
        "model": ask.model,
        "messages": messages,
        "max_completion_tokens": ask.max_output_tokens,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "seed": ask.seed,
        "reasoning_effort": ask.reasoning.effort,
        "response_format": _form(ask.text.format),
        "mull": ask.mull.model_dump(mode="json", exclude_unset=True),
    }
    return {name: value for name, value in chat.items() if value is not None}


def _form(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Write the form of an answer as chats do: the schema lies one floor deeper there."""
    if given is None or given.get("type") != "json_schema":
        return given
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if name != "type"}}
