"""Every field of OpenAI's and vLLM's request bodies that Mull knows, and what it does with each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.gateway.schema import Ask
from service.gateway.unsupported import UNSERVED
from service.search.sampling import Extras

Treatment = Literal["honoured", "passed on", "without effect", "refused"]
"""`passed on`: to the policy's engine, as it is. `refused`: with status 400, but for the values that mean "off"."""

WITHOUT_EFFECT = frozenset(
    {"user", "safety_identifier", "metadata", "prompt_cache_key", "request_id", "session_id", "parallel_tool_calls"}
)
"""Fields of the schema that change nothing, whatever their value."""
PASSED_ON = frozenset({*Extras.model_fields, "chat_template_kwargs"})
"""Fields of the schema that the engine is told as they are."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What becomes of one field; `accepted` are the values that a refused one may have, beside null."""

    name: str
    treatment: Treatment
    accepted: tuple[Any, ...] = ()
    says: str = ""


def field_rules(kind: type[Ask]) -> Mapping[str, FieldRule]:
    """Return the rules of one kind of body by the fields' names: those that are served first."""
    served = {
        name: FieldRule(name, _treatment(name), says=field.description or "")
        for name, field in kind.model_fields.items()
        if name != "mull"
    }
    unserved = {
        name: FieldRule(name, "refused", tuple(off.accepted), off.instead)
        for name, off in UNSERVED.items()
        if name not in served
    }
    return served | unserved


def _treatment(name: str) -> Treatment:
    if name in WITHOUT_EFFECT:
        return "without effect"
    return "passed on" if name in PASSED_ON else "honoured"
