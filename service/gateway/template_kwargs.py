"""Variables that a client gives to the policy's chat template."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema

MOST_CHARS = 4096
MOST_DEEP = 8
_RESERVED = {
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "documents",
    "max_length",
    "messages",
    "padding",
    "processor_kwargs",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "self",
    "tokenize",
    "tokenizer_kwargs",
    "tools",
    "truncation",
}
"""Names by which vLLM hands the chat to the template, or parameters of the function that renders it: not a client's."""


def _variables(given: dict[str, Any]) -> dict[str, Any]:
    for name in given:
        if not name.isidentifier() or name.startswith("_"):
            raise ValueError(f"{name!r} is no name of a variable")
        if name in _RESERVED:
            raise ValueError(f"{name!r} is not the client's to set")
    if not all(_is_flat(value, MOST_DEEP) for value in given.values()):
        raise ValueError(f"it is nested more than {MOST_DEEP} deep")
    if (length := len(json.dumps(given, allow_nan=False))) > MOST_CHARS:
        raise ValueError(f"{length} characters of JSON are more than the {MOST_CHARS} that are read")
    return given


def _is_flat(value: Any, levels: int) -> bool:
    """Tell whether a value has no more than so many lists and objects within each other."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_flat(each, levels - 1) for each in inner)


TemplateKwargs = Annotated[
    dict[str, Any],
    Field(max_length=32),
    AfterValidator(_variables),
    WithJsonSchema({"type": "object", "additionalProperties": True, "maxProperties": 32}),
]
"""Values by name; at most 32 of them, and 4096 characters as JSON."""
