"""Fields of OpenAI's and vLLM's that Mull knows and does not serve: taken while they mean "off", refused otherwise."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from service.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Off:
    """The values of a field that ask for nothing (`null` always does), and what to do instead of another one."""

    accepted: Collection[Any] = ()
    instead: str = "Leave it out."


_ONE_CHAT = "A search answers the last user message: leave it out."
_OWN_ROUTE = "The prompt is sent to the engine as token ids: leave it out."
_NOT_CUT = "A question is searched whole or not at all: shorten it."
_OURS_TO_RENDER = "The policy's template is the operator's to choose; chat_template_kwargs gives it variables."

UNSERVED: Mapping[str, Off] = {
    # OpenAI's
    "tools": Off(([],), "Mull answers by text alone: leave it out."),
    "tool_choice": Off(("none", "auto")),
    "functions": Off(([],), "Mull answers by text alone: leave it out."),
    "function_call": Off(("none", "auto")),
    "modalities": Off((["text"],), "Mull answers by text alone."),
    "audio": Off(instead="Mull answers by text alone: leave it out."),
    "prediction": Off(),
    "web_search_options": Off(instead="Mull searches for solutions, not on the web: leave it out."),
    "moderation": Off(),
    "store": Off((False,), "Results are not stored for later retrieval."),
    "service_tier": Off(("auto", "default")),
    "verbosity": Off(("medium",), "Ask for a length in the messages."),
    "prompt_cache_options": Off(),
    "prompt_cache_retention": Off(("in_memory",), "How long prefixes are kept is the engine's affair."),
    "echo": Off((False,), "The prompt is not part of a choice."),
    "suffix": Off(("",)),
    "best_of": Off((1,), 'Ask for {"mull": {"strategy": {"name": "best_of_n", "samples": …}}} instead.'),
    # vLLM's
    "use_beam_search": Off((False,), 'Ask for {"mull": {"strategy": "beam_search"}} instead: it beams over steps.'),
    "length_penalty": Off((1,), "It belongs to vLLM's own beam search."),
    "early_stopping": Off((False,), "It belongs to vLLM's own beam search."),
    "add_generation_prompt": Off((True,), _ONE_CHAT),
    "continue_final_message": Off((False,), _ONE_CHAT),
    "chat_template": Off(instead=_OURS_TO_RENDER),
    "documents": Off(([],), _OURS_TO_RENDER),
    "add_special_tokens": Off(instead=_OWN_ROUTE),
    "truncate_prompt_tokens": Off(instead=_NOT_CUT),
    "truncation_side": Off(instead=_NOT_CUT),
    "prompt_embeds": Off(instead=_OWN_ROUTE),
    "prompt_logprobs": Off(instead="Ask for `logprobs` of the answer; steps given are judged by POST /v1/score."),
    "logprob_token_ids": Off(instead="Ask for `top_logprobs`, or `logprobs` in a completion."),
    "return_tokens_as_token_ids": Off((False,)),
    "return_token_ids": Off((False,)),
    "return_token_offsets": Off((False,)),
    "return_prompt_text": Off((False,)),
    "skip_special_tokens": Off((True,), "The reward model would be shown special tokens as text: leave it out."),
    "spaces_between_special_tokens": Off((True,)),
    "include_reasoning": Off((True,)),
    "repetition_detection": Off(instead="`repetition_penalty` and `frequency_penalty` are served."),
    "watermarking": Off((False,)),
    "priority": Off((0,), "The gateway is fair between requests: leave it out."),
    "cache_salt": Off(instead="Scores are remembered for all callers together: a salt would promise too much."),
    "vllm_xargs": Off(({},), "What an engine's own plug-ins take is the operator's to set."),
    "kv_transfer_params": Off(instead="Where an engine sends its cache is the operator's to set."),
    "ec_transfer_params": Off(instead="Where an engine sends its cache is the operator's to set."),
    "mm_processor_kwargs": Off(instead="Only text is read: leave it out."),
    "mm_payload": Off(instead="Only text is read: leave it out."),
    "return_mm_kwargs": Off((False,)),
    "routed_experts_prompt_start": Off((0,)),
    "media_io_kwargs": Off(instead="Only text is read: leave it out."),
    "stream_interval": Off(instead="How much text comes at once is Mull's to choose."),
}
UNSERVED_IN_MESSAGES: Mapping[str, Off] = {
    "refusal": Off(),
    "tool_calls": Off(([],), "Mull answers by text alone: leave it out."),
    "function_call": Off(instead="Mull answers by text alone: leave it out."),
    "audio": Off(instead="Only text is read: leave it out."),
    "annotations": Off(([],)),
}


def without_off_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body without the fields that ask for nothing.

    Raises `InvalidRequest` for the first one that asks for something.
    """
    rest = without(data, UNSERVED, "")
    if isinstance(messages := rest.get("messages"), list):
        rest["messages"] = [
            without(m, UNSERVED_IN_MESSAGES, f"messages[{i}].") if isinstance(m, dict) else m
            for i, m in enumerate(messages)
        ]
    return rest


def without(data: Mapping[str, Any], unserved: Mapping[str, Off], where: str) -> dict[str, Any]:
    """Return `data` without the `unserved` fields; `where` stands before their names in errors: `InvalidRequest`."""
    for field, off in unserved.items():
        value = data.get(field)
        # True == 1 in Python, but echo=1 is not echo=true.
        if value is None or any(value == a and isinstance(value, bool) == isinstance(a, bool) for a in off.accepted):
            continue
        raise InvalidRequest(f"`{where}{field}` is not supported.", hint=off.instead, param=f"{where}{field}")
    return {key: value for key, value in data.items() if key not in unserved}
