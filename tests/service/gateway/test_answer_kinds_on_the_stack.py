"""Kinds of answers and forms of texts on real engines. The tiny policy writes numbers digit by digit, and no quotes."""

import re
import uuid
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.stack

QUESTION = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"


def chat(stack: Any, **fields: Any) -> httpx.Response:
    """Ask a word problem that nobody has asked before, as seeds differ."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": QUESTION}], "seed": uuid.uuid4().int % 2**62}
    return httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body | fields, timeout=60)


def candidates(reply: httpx.Response) -> list[dict[str, Any]]:
    """Return all candidates of a search that has an answer."""
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["mull"]["candidates"]
    return found


def votes(samples: int, **more: Any) -> dict[str, Any]:
    """The `mull` object of a vote of which all candidates come to their end."""
    strategy = {"name": "majority_vote", "samples": samples, "early_stop": "off"}
    return {"strategy": strategy, "include": ["candidates"], **more}


@pytest.mark.parametrize(
    ("outputs", "form"),
    [
        ({"choice": [" 1 2", " 1 7", " 3"]}, r" 1 2| 1 7| 3"),
        ({"regex": " [0-9]( [0-9]){2}"}, r" [0-9]( [0-9]){2}"),
        ({"grammar": 'root ::= " 1 2" | " 1 7"'}, r" 1 2| 1 7"),
    ],
)
def test_every_candidate_has_the_form(stack: Any, outputs: dict[str, Any], form: str) -> None:
    """And its text is its answer."""
    reply = chat(stack, structured_outputs=outputs, mull=votes(8))
    found = candidates(reply)
    assert len(found) == 8
    assert all(re.fullmatch(form, candidate["text"]) for candidate in found)
    assert all(candidate["key"] == candidate["text"].strip() for candidate in found)
    assert reply.json()["mull"]["answer"] in {candidate["answer"] for candidate in found}


def test_a_schema_is_kept_to(stack: Any) -> None:
    """As OpenAI's clients ask for it."""
    schema = {"type": "json_schema", "json_schema": {"name": "pens", "schema": {"type": "integer", "maximum": 99}}}
    found = candidates(chat(stack, response_format=schema, mull=votes(4)))
    assert all(int(candidate["text"]) <= 99 for candidate in found)


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ({"regex": "[0-9"}, "unclosed character class"),
        ({"json": {"type": "nonsense"}}, "nonsense"),
        ({"choice": ["été", "é"]}, "vocabulary"),
    ],
)
def test_a_form_that_the_engine_cannot_keep_is_a_bad_request(stack: Any, outputs: dict[str, Any], why: str) -> None:
    """It is the engine that finds it, and the next request is answered."""
    reply = chat(stack, structured_outputs=outputs, mull=votes(4))
    assert reply.status_code == 400
    assert why in reply.json()["error"]["message"]
    assert reply.json()["error"]["param"] in ("structured_outputs", "response_format")
    assert chat(stack, max_tokens=5).status_code == 200


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("number", r"-?[0-9]+(/[0-9]+)?"),
        ({"kind": "regex", "pattern": r"has ([0-9 ]+) [+-]"}, r"[0-9 ]+"),
        ("exact", r"(?s).+"),
    ],
)
def test_answers_are_read_as_asked(stack: Any, answer: Any, key: str) -> None:
    """Whatever the kind, equal keys are one vote."""
    reply = chat(stack, mull=votes(8, answer=answer))
    keys = [candidate["key"] for candidate in candidates(reply) if candidate["key"] is not None]
    assert keys
    assert all(re.fullmatch(key, found) for found in keys)
    assert {vote["key"]: vote["candidates"] for vote in reply.json()["mull"]["votes"]} == {
        found: keys.count(found) for found in keys
    }


def test_without_answers_the_best_judged_candidate_is_returned(stack: Any) -> None:
    """Nothing is voted on."""
    strategy = {"name": "best_of_n", "samples": 4, "early_stop": "off"}
    reply = chat(stack, mull={"answer": "none", "strategy": strategy, "include": ["candidates"]})
    found = candidates(reply)
    assert found[0]["score"] == max(candidate["score"] for candidate in found)
    assert reply.json()["choices"][0]["message"]["content"] == found[0]["text"]
    assert reply.json()["mull"]["answer"] is None
    assert reply.json()["mull"]["votes"] == []
