"""/openapi.json, nasty bytes and privacy on the running stack, with real workers and engines."""

import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from redis import Redis
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import send

pytestmark = pytest.mark.stack

TRIES = trying(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
LIMIT_S = 60.0


def check(case: Case) -> None:
    """Raises what is wrong with the answer."""
    case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=LIMIT_S)


def short(case: Case) -> Case:
    """Let a request that is good be a short one: this is about its form."""
    if isinstance(body := case.body, dict):
        body["model"] = "tiny"
        body.pop("mull", None)
        body.pop("n", None)
        for cap in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
            if cap in body:
                body[cap] = 8
        if body.get("messages"):
            body["messages"][-1]["role"] = "user"
    return case


def test_interface_is_what_its_document_says(stack: Any) -> None:
    """Requests made from the document, right ones and wrong ones, get documented answers, and never a 5xx."""
    schema = schemathesis.openapi.from_url(f"{stack.gateway_url}/openapi.json")
    for operation in [found.ok() for found in schema.get_all_operations()]:
        TRIES(given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE).map(short))(check))()
        if operation.body or operation.query:
            TRIES(given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))(check))()
    assert httpx.get(f"{stack.gateway_url}/readyz", timeout=LIMIT_S).status_code == 200


NASTY = [
    ("no HTTP", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    ("a huge header", b"GET /healthz HTTP/1.1\r\nHost: mull\r\nX-Big: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    (
        "two megabytes",
        b"POST /v1/score HTTP/1.1\r\nHost: mull\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n"
        + b" " * 2_000_000,
        413,
    ),
]


@pytest.mark.parametrize(("sent", "status"), [n[1:] for n in NASTY], ids=[n[0] for n in NASTY])
def test_server_of_the_stack_refuses_in_our_words(stack: Any, sent: bytes, status: int) -> None:
    """The gateway that `mull up` starts has the bounds that the gateway of the other tests has."""
    port = urlsplit(stack.gateway_url).port
    assert port is not None
    answer = send(port, [sent])
    assert answer.status == status
    assert answer.error["type"] == "invalid_request_error"


def test_no_log_holds_a_word_of_the_question(stack: Any) -> None:
    """Gateway, workers and engines write no word of a question down, nor does Redis have it in a key."""
    word = f"quokka{uuid.uuid4().hex[:8]}"
    question = f"Bo has 12 {word} . Ann has 5 more pens than Bo . How many pens does Ann have ?"
    body = {"model": "tiny", "messages": [{"role": "user", "content": question}], "max_tokens": 20}
    mull = {"strategy": {"name": "best_of_n", "samples": 2}, "include": ["trace"]}
    with httpx.Client(base_url=stack.gateway_url, timeout=LIMIT_S) as http:
        answer = http.post("/v1/chat/completions", json=body | {"mull": mull})
        http.post("/v1/score", json={"model": "tiny", "question": question, "solutions": [word]})
        http.post("/v1/chat/completions", json=body | {word: 1})
        http.post("/v1/chat/completions", json=body | {"messages": [{"role": "user", "content": f"{word} " * 2000}]})
        kept = http.get(f"/v1/traces/{answer.headers['x-request-id']}")
        metrics = http.get("/metrics").text
    assert (answer.status_code, kept.status_code) == (200, 200)
    assert word in kept.text
    assert word not in metrics
    redis = Redis.from_url(stack.redis_url)
    assert not [key for key in redis.scan_iter() if word.encode() in key]
    folders = (Path(stack.state_dir), Path(stack.state.scratch) / "session_latest" / "logs")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    logs = [file for file in files if file.suffix in (".log", ".err", ".out")]
    assert len(logs) > 8
    assert [file.name for file in logs if word.encode() in file.read_bytes()] == []
