"""OpenAI's `response` object: a job as it stands, or an answer."""

import time
from typing import Any, Literal

from pydantic import Field

from service.errors import MullError
from service.gateway.reply import MullReply, Reply
from service.gateway.responses_ask import ResponsesAsk
from service.search.request import SearchResult, SearchUsage


class OutputText(Reply):
    """The text of the answer."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = Field([])
    logprobs: list[Any] = Field([])


class OutputMessage(Reply):
    """The best answer. `incomplete`: it was cut off, by its token cap or by a limit of the search."""

    type: Literal["message"] = "message"
    id: str
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class SummaryText(Reply):
    """How the search went, in lines."""

    type: Literal["summary_text"] = "summary_text"
    text: str


class ReasoningOutput(Reply):
    """What was told of the search while it ran; only where the request asked for a summary."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    summary: list[SummaryText]


class InputTokensDetails(Reply):
    """`cached_tokens`: found in the engine's prefix cache, as far as it tells. Mull charges nothing for writing it."""

    cached_tokens: int
    cache_write_tokens: Literal[0] = 0


class OutputTokensDetails(Reply):
    """`reasoning_tokens`: generated, and not part of the answer."""

    reasoning_tokens: int


class ResponseUsage(Reply):
    """Policy tokens in OpenAI's terms: the prompt once, and all that was generated, returned or not."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(Reply):
    """Why there is no answer. `code` is one of OpenAI's; `type` and `param` are those of other errors of Mull's."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str
    type: str
    param: str | None


class IncompleteDetails(Reply):
    """Why the answer is cut off."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseReasoning(Reply):
    """What was asked for."""

    effort: str | None
    summary: str | None


class TextFormat(Reply):
    """The form of the answer, as it was asked for."""

    format: dict[str, Any]


class ResponseReply(Reply):
    """OpenAI's `response`. `mull` says how the answer was found, `usage` what it has cost; `null` where not known."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    model: str
    instructions: str | None
    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    metadata: dict[str, str]
    reasoning: ResponseReasoning
    text: TextFormat
    output: list[ReasoningOutput | OutputMessage] = Field([])
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    mull: MullReply | None = Field(None, description="There when the answer is.")
    parallel_tool_calls: Literal[False] = False
    tool_choice: Literal["none"] = "none"
    tools: list[Any] = Field([])
    previous_response_id: None = None
    truncation: Literal["disabled"] = "disabled"


class DeletedResponse(Reply):
    """What is said of a response that is kept no longer."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def begun(ask: ResponsesAsk, id: str, status: Literal["queued", "in_progress"]) -> ResponseReply:
    """Return the response to `ask` before there is an answer."""
    return ResponseReply(
        id=id,
        created_at=int(time.time()),
        status=status,
        background=bool(ask.background),
        model=ask.model,
        instructions=ask.instructions,
        max_output_tokens=ask.max_output_tokens,
        temperature=ask.temperature,
        top_p=ask.top_p,
        metadata=ask.metadata or {},
        reasoning=ResponseReasoning(effort=ask.reasoning.effort, summary=ask.reasoning.summary),
        text=TextFormat(format=ask.text.format or {"type": "text"}),
    )


def answered(response: ResponseReply, result: SearchResult, mull: MullReply, summary: str = "") -> ResponseReply:
    """Return `response` with its answer, and with what was told of the search, if anything was."""
    best = result.choices[0]
    whole = best.finish_reason == "stop"
    message = OutputMessage(
        id=f"msg_{_bare(response)}",
        status="completed" if whole else "incomplete",
        content=[OutputText(text=best.text)],
    )
    told = [reasoning(response, summary)] if summary else []
    return response.model_copy(
        update={
            "status": message.status,
            "completed_at": int(time.time()) if whole else None,
            "output": [*told, message],
            "incomplete_details": None if whole else IncompleteDetails(),
            "usage": response_usage(result.usage),
            "mull": mull,
        }
    )


def reasoning(response: ResponseReply, summary: str) -> ReasoningOutput:
    """Return the item that holds what is told of the search."""
    return ReasoningOutput(id=f"rs_{_bare(response)}", summary=[SummaryText(text=summary)] if summary else [])


def failed(response: ResponseReply, error: MullError) -> ResponseReply:
    """Return `response` with the reason for which there is no answer."""
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] = "server_error"
    if error.status < 500:
        code = "rate_limit_exceeded" if error.status == 429 else "invalid_prompt"
    message = f"{error.message} {error.hint}".strip()
    detail = ResponseError(code=code, message=message, type=error.type, param=error.param)
    return response.model_copy(update={"status": "failed", "error": detail})


def response_usage(usage: SearchUsage) -> ResponseUsage:
    """Return a search's policy tokens in the Responses API's terms."""
    policy = usage.policy
    generated = policy.kept + policy.discarded
    # Of several candidates' prompts nobody can say what belongs to the one that is counted.
    cached = policy.cached if policy.prompt == usage.prompt else None
    return ResponseUsage(
        input_tokens=usage.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=cached or 0),
        output_tokens=generated,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=policy.discarded),
        total_tokens=usage.prompt + generated,
    )


def _bare(response: ResponseReply) -> str:
    return response.id.partition("_")[2]
