"""What is wrong with a body, in one sentence that says what to do."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.errors import InvalidRequest
from strategies.registry import STRATEGIES

Loc = tuple[int | str, ...]


def explain(error: ValidationError, model: type[BaseModel]) -> InvalidRequest:
    """Return the first thing that is wrong with a body meant for `model`, as an error for the client."""
    first = error.errors(include_url=False)[0]
    loc, models = _walk(model, first["loc"])
    param = _dotted(loc)
    match first["type"]:
        case "extra_forbidden":
            known = sorted({field.alias or name for m in models for name, field in m.model_fields.items()})
            message, hint = f"There is no field `{param}`.", f"Known here: {', '.join(known)}."
        case "missing":
            message, hint = f"`{param}` is missing.", "Add it."
        case "union_tag_invalid":
            message, hint = f"There is no strategy {first['ctx']['tag']!r}.", f"Known: {', '.join(STRATEGIES)}."
        case "union_tag_not_found" | "model_attributes_type" if param == "mull.strategy":
            message, hint = "`mull.strategy` has no name.", f"Send one of {', '.join(STRATEGIES)}."
        case _:
            message, hint = f"`{param}` is not valid: {_plainly(first)}.", ""
    return InvalidRequest(message, hint=hint, param=param)


def _plainly(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    text = error["msg"]
    return text[0].lower() + text[1:]


def _walk(model: type[BaseModel], loc: Loc) -> tuple[Loc, Sequence[type[BaseModel]]]:
    """Return `loc` without the marks pydantic adds for union members, and the models in which it ends."""
    kept: list[int | str] = []
    inside: list[type[BaseModel]] = [model]
    for place, part in enumerate(loc):
        fields = [m.model_fields[str(part)] for m in inside if part in m.model_fields]
        named = [m for m in inside if "name" in m.model_fields and m.model_fields["name"].default == part]
        if fields:
            kept.append(part)
            if place < len(loc) - 1:
                inside = [m for f in fields for m in _models(f.annotation, *f.metadata)]
        elif named and len(inside) > 1:
            inside = named
        elif isinstance(part, int) or place == len(loc) - 1:
            # A mark of a union's member (`str`, `list[…]`) after a field that holds no models is no place.
            if isinstance(part, int) or inside:
                kept.append(part)
        else:
            inside = []
    return tuple(kept), inside


def _models(*kinds: Any) -> Iterator[type[BaseModel]]:
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
        else:
            yield from _models(*get_args(kind))


def _dotted(loc: Loc) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:100]}" for part in loc)
    return text.removeprefix(".")
