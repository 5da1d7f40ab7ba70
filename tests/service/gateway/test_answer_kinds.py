import json
from typing import Any

import pytest
from fake_workers import settings

from service.errors import InvalidRequest
from service.gateway.constrained import DEEPEST_SCHEMA, LONGEST_SCHEMA
from service.gateway.plan import plan
from service.gateway.schema import ChatAsk
from service.search.answer_spec import AnswerSpec
from service.search.constraint import Constraint
from service.search.request import SearchRequest

SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}


def planned(**fields: Any) -> SearchRequest:
    """Plan a chat about 1+1 with more fields."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], **fields}
    return plan(body, ChatAsk, settings()).request


def formatted(schema: object) -> dict[str, Any]:
    """OpenAI's way to ask for JSON."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        ({}, AnswerSpec()),
        ({"answer": "number"}, AnswerSpec(kind="number")),
        ({"answer": {"kind": "choice", "labels": ["A", "B"]}}, AnswerSpec(kind="choice", labels=("A", "B"))),
        ({"answer": {"kind": "regex", "pattern": "(.)"}}, AnswerSpec(kind="regex", pattern="(.)")),
    ],
)
def test_the_kind_of_answer_is_part_of_the_search(asked: dict[str, Any], spec: AnswerSpec) -> None:
    """A bare name is a kind without parameters, and math is the default."""
    assert planned(mull=asked).answer == spec


@pytest.mark.parametrize(
    ("answer", "param", "why"),
    [
        ("vibes", "mull.answer.kind", "'math', 'choice', 'number', 'regex', 'exact' or 'none'"),
        ("regex", "mull.answer", "needs a `pattern`"),
        ({"kind": "regex", "pattern": "(a+"}, "mull.answer", "no regular expression"),
        ({"kind": "math", "labels": ["A", "B"]}, "mull.answer", "belong to the kind choice"),
        ({"kind": "choice", "letters": "AB"}, "mull.answer.letters", "no field"),
    ],
)
def test_a_kind_that_cannot_be_read_is_refused(answer: object, param: str, why: str) -> None:
    """With the place and the reason."""
    with pytest.raises(InvalidRequest) as refused:
        planned(mull={"answer": answer})
    assert refused.value.param == param
    assert why in refused.value.message


def test_without_answers_the_judge_selects() -> None:
    """There is nothing that a weighted vote could pool."""
    assert planned(mull={"answer": "none", "strategy": "best_of_n"}).score.select == "best"
    assert planned(mull={"answer": "none"}).strategy.name == "sample"


@pytest.mark.parametrize(
    ("mull", "param"),
    [
        ({"strategy": "majority_vote"}, "mull.answer"),
        ({"strategy": "best_of_n", "score": {"select": "weighted_vote"}}, "mull.score.select"),
    ],
)
def test_without_answers_nothing_is_voted_on(mull: dict[str, Any], param: str) -> None:
    """Whoever asks for a vote is told why there is none."""
    with pytest.raises(InvalidRequest, match="has no answers") as refused:
        planned(mull={"answer": "none", **mull})
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        (formatted(SCHEMA), Constraint(form="json", text=json.dumps(SCHEMA, separators=(",", ":")))),
        ({"response_format": {"type": "json_object"}}, Constraint(form="json_object")),
        (
            {"structured_outputs": {"json": SCHEMA}},
            Constraint(form="json", text=json.dumps(SCHEMA, separators=(",", ":"))),
        ),
        ({"structured_outputs": {"json": '{"type": "null"}'}}, Constraint(form="json", text='{"type":"null"}')),
        ({"structured_outputs": {"regex": "[0-9]+"}}, Constraint(form="regex", text="[0-9]+")),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, Constraint(form="choice", choices=("yes", "no"))),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, Constraint(form="grammar", text='root ::= "a"')),
        ({"structured_outputs": {"json_object": True}}, Constraint(form="json_object")),
    ],
)
def test_what_has_a_form_is_compared_as_it_stands(fields: dict[str, Any], constraint: Constraint) -> None:
    """The schema keeps its order, in which engines write an object; another kind of answer can be asked for."""
    request = planned(**fields)
    assert (request.constraint, request.answer.kind) == (constraint, "exact")
    assert planned(**fields, mull={"answer": "number"}).answer.kind == "number"


@pytest.mark.parametrize(
    "off", [{"response_format": {"type": "text"}}, {"response_format": None, "structured_outputs": None}]
)
def test_text_is_no_form(off: dict[str, Any]) -> None:
    """Clients that send the default ask for nothing."""
    request = planned(**off)
    assert (request.constraint, request.answer.kind) == (None, "math")


def nested(depth: int) -> dict[str, Any]:
    """A schema of so many objects."""
    return {} if depth == 1 else {"items": nested(depth - 1)}


@pytest.mark.parametrize(
    ("fields", "param", "why"),
    [
        (formatted({"$ref": "http://example.org/x.json"}), "response_format.json_schema.schema", "nothing is fetched"),
        (formatted({"anyOf": [{"$ref": "file:///etc/x"}]}), "response_format.json_schema.schema", "nothing is fetched"),
        (formatted({"const": "x" * LONGEST_SCHEMA}), "response_format.json_schema.schema", "longer than"),
        (formatted(nested(DEEPEST_SCHEMA + 1)), "response_format.json_schema.schema", "nested deeper"),
        (formatted([]), "response_format.json_schema.schema", "dictionary"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "needs one"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.type", "'json_schema'"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json", "no JSON"),
        ({"structured_outputs": {"json": "3"}}, "structured_outputs.json", "no object"),
        ({"structured_outputs": {"json": "[" * 50_000}}, "structured_outputs.json", "longer than"),
        ({"structured_outputs": {}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "exactly one"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least 1"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "no field"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs",
            "both say",
        ),
        (
            {"response_format": {"type": "json_object"}, "mull": {"strategy": "beam_search"}},
            "response_format",
            "single steps",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "mull": {"strategy": "mcts"}},
            "structured_outputs",
            "single steps",
        ),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused(fields: dict[str, Any], param: str, why: str) -> None:
    """Before any engine is asked."""
    with pytest.raises(InvalidRequest) as refused:
        planned(**fields)
    assert refused.value.param == param
    assert why in refused.value.message


def test_the_fields_that_there_are_go_by_the_names_that_clients_send() -> None:
    """Not by ours, which differ where Python has the name already."""
    with pytest.raises(InvalidRequest) as refused:
        planned(structured_outputs={"schema": {}})
    assert refused.value.hint == "Known here: choice, grammar, json, json_object, regex."


def test_a_schema_as_deep_as_may_be_is_taken() -> None:
    """And so is a reference into itself."""
    schema = {**nested(DEEPEST_SCHEMA - 1), "$defs": {"x": {}}, "items": {"$ref": "#/$defs/x"}}
    assert planned(**formatted(nested(DEEPEST_SCHEMA))).constraint is not None
    assert planned(**formatted(schema)).constraint is not None
