"""The forms that a client can ask a candidate to have: OpenAI's `response_format`, vLLM's `structured_outputs`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.errors import InvalidRequest
from service.search.constraint import Constraint

LONGEST_SCHEMA = 20_000
"""Characters of a JSON schema; engines take many times its length to compile it."""
DEEPEST_SCHEMA = 32
"""Objects and arrays within each other; vLLM takes twice as many."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JsonSchema(_Form):
    """OpenAI's `json_schema`."""

    name: str = Field(max_length=64, description="Accepted without effect.")
    description: str | None = Field(None, description="Accepted without effect.")
    schema_: dict[str, Any] = Field(alias="schema", description=f"At most {LONGEST_SCHEMA} characters of JSON.")
    strict: bool | None = Field(None, description="Accepted without effect: a schema is always kept to.")


class ResponseFormat(_Form):
    """OpenAI's `response_format`. A chat is not told of it: the engine lets the policy write nothing else."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _fits_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("`json_schema` belongs to the type json_schema, which needs one")
        return self


class StructuredOutputs(_Form):
    """vLLM's `structured_outputs`: exactly one of these."""

    json_: dict[str, Any] | str | None = Field(None, alias="json", description="A JSON schema, or the text of one.")
    json_object: Literal[True] | None = None
    regex: str | None = Field(
        None, min_length=1, max_length=2000, description="The whole text matches, in Rust's form."
    )
    choice: list[Annotated[str, Field(min_length=1, max_length=1000)]] | None = Field(
        None, min_length=1, max_length=1000, description="The whole text is one of these."
    )
    grammar: str | None = Field(None, min_length=1, max_length=LONGEST_SCHEMA, description="GBNF or Lark.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("it takes exactly one of json, json_object, regex, choice, grammar")
        return self


def constraint_of(asked: ResponseFormat | None, outputs: StructuredOutputs | None) -> Constraint | None:
    """Return the form that a request asks for; `None` where any text will do.

    Raises `InvalidRequest` for two forms at once, and for a schema that no engine should be given.
    """
    if asked is None or asked.type == "text":
        return None if outputs is None else _structured(outputs)
    if outputs is not None:
        raise InvalidRequest(
            "`response_format` and `structured_outputs` both say what form an answer has.",
            hint="Send one of them.",
            param="structured_outputs",
        )
    if asked.json_schema is None:
        return Constraint(form="json_object")
    return _schema(asked.json_schema.schema_, "response_format.json_schema.schema")


def _structured(outputs: StructuredOutputs) -> Constraint:
    if outputs.json_ is not None:
        return _schema(outputs.json_, "structured_outputs.json")
    if outputs.regex is not None:
        return Constraint(form="regex", text=outputs.regex)
    if outputs.choice is not None:
        return Constraint(form="choice", choices=tuple(outputs.choice))
    if outputs.grammar is not None:
        return Constraint(form="grammar", text=outputs.grammar)
    return Constraint(form="json_object")


def _schema(schema: dict[str, Any] | str, param: str) -> Constraint:
    if isinstance(schema, str) and len(schema) <= LONGEST_SCHEMA:
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            raise InvalidRequest("The JSON schema is no JSON.", hint="Send it as an object.", param=param) from None
    if not isinstance(schema, dict):
        what = f"longer than {LONGEST_SCHEMA} characters" if isinstance(schema, str) else "no object"
        raise InvalidRequest(f"The JSON schema is {what}.", hint="Send a smaller object.", param=param)
    _check_places(schema, param)
    # In the order that it came in: engines write an object's keys in the order of its schema.
    text = json.dumps(schema, separators=(",", ":"))
    if len(text) > LONGEST_SCHEMA:
        raise InvalidRequest(
            f"The JSON schema is longer than {LONGEST_SCHEMA} characters.", hint="Send a smaller one.", param=param
        )
    return Constraint(form="json", text=text)


def _check_places(schema: Mapping[str, Any], param: str) -> None:
    level: list[Any] = [schema]
    for _ in range(DEEPEST_SCHEMA):
        for part in level:
            reference = part.get("$ref", "#") if isinstance(part, Mapping) else "#"
            if isinstance(reference, str) and not reference.startswith("#"):
                raise InvalidRequest(
                    f"The JSON schema refers to {reference[:100]!r}, which is not in it: nothing is fetched.",
                    hint='Put it under "$defs" and refer to "#/$defs/…".',
                    param=param,
                )
        level = [child for part in level for child in _children(part)]
        if not level:
            return
    raise InvalidRequest(
        f"The JSON schema is nested deeper than {DEEPEST_SCHEMA} levels.", hint="Send a flatter one.", param=param
    )


def _children(part: Any) -> list[Any]:
    inner = part.values() if isinstance(part, Mapping) else part
    return [child for child in inner if isinstance(child, Mapping | list)]
