"""Fields of OpenAI's that Mull knows and does not serve: accepted while they mean "off", refused otherwise."""

from collections.abc import Collection, Mapping
from typing import Any

from service.errors import InvalidRequest

_OFF: Mapping[str, Collection[Any]] = {
    "stream": (False,),
    "stream_options": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
}
_MESSAGE_OFF: Mapping[str, Collection[Any]] = {
    "refusal": (),
    "tool_calls": ([],),
    "function_call": (),
    "audio": (),
    "annotations": ([],),
}
_INSTEAD = {
    "stream": "Streaming is not supported yet: leave `stream` out.",
    "best_of": 'Ask for {"mull": {"strategy": {"name": "best_of_n", "samples": …}}} instead.',
}


def without_off_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request body without the fields that ask for nothing; `null` always means "off".

    Raises `InvalidRequest` for the first one that asks for something.
    """
    rest = _without(data, _OFF, "")
    if isinstance(messages := rest.get("messages"), list):
        rest["messages"] = [
            _without(m, _MESSAGE_OFF, f"messages[{i}].") if isinstance(m, dict) else m for i, m in enumerate(messages)
        ]
    return rest


def _without(data: Mapping[str, Any], off: Mapping[str, Collection[Any]], where: str) -> dict[str, Any]:
    for field, accepted in off.items():
        value = data.get(field)
        # True == 1 in Python, but logprobs=true is not best_of=1.
        if value is None or any(value == a and isinstance(value, bool) == isinstance(a, bool) for a in accepted):
            continue
        raise InvalidRequest(
            f"`{where}{field}` is not supported.",
            hint=_INSTEAD.get(field, "Leave it out."),
            param=f"{where}{field}",
        )
    return {key: value for key, value in data.items() if key not in off}
