import json
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers

QUESTION = [{"role": "user", "content": "1+1?"}]
CHAT = {"model": "tiny", "messages": QUESTION}
MAJORITY = {"strategy": {"name": "majority_vote", "samples": 2}}

# What is wrong, the fields laid over a good chat body, the status, and words the message must hold.
BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown field", {"tempature": 1}, 400, "temperature"),
    ("unknown mull field", {"mull": {"stratgy": "sample"}}, 400, "strategy"),
    ("unknown budget field", {"mull": {"budget": {"tokens": 5}}}, 400, "policy_tokens"),
    ("unknown strategy field", {"mull": {"strategy": {"name": "best_of_n", "n": 4}}}, 400, "samples"),
    ("unknown score field", {"mull": {"strategy": "best_of_n", "score": {"step": 1}}}, 400, "select, source, steps"),
    ("unknown message field", {"messages": [{"role": "user", "content": "1", "text": "1"}]}, 400, "messages[0].text"),
    ("unknown model", {"model": "huge"}, 404, "tiny, bare"),
    ("model is a number", {"model": 7}, 400, "`model`"),
    ("unknown strategy", {"mull": {"strategy": "guess"}}, 400, "majority_vote"),
    ("strategy without a name", {"mull": {"strategy": {"samples": 4}}}, 400, "majority_vote"),
    ("strategy is a number", {"mull": {"strategy": 4}}, 400, "majority_vote"),
    ("mull is a list", {"mull": []}, 400, "`mull`"),
    ("samples as text", {"mull": {"strategy": {"name": "best_of_n", "samples": "4"}}}, 400, "mull.strategy.samples"),
    ("zero samples", {"mull": {"strategy": {"name": "best_of_n", "samples": 0}}}, 400, "greater than or equal to 1"),
    ("samples over the limit", {"mull": {"strategy": {"name": "best_of_n", "samples": 65}}}, 400, "limits.samples"),
    ("beams over the limit", {"mull": {"strategy": {"name": "beam_search", "beams": 20}}}, 400, "80 candidates"),
    (
        "beams over all limits",
        {"mull": {"strategy": {"name": "beam_search", "beams": 256, "expansions": 8}}},
        400,
        "`mull.strategy` is not valid: beams times expansions",
    ),
    ("certainty for a tree", {"mull": {"strategy": "dvts", "score": {"source": "mean_logprob"}}}, 400, "of its steps"),
    ("scores without need", {"mull": {"strategy": "majority_vote", "score": {"steps": "min"}}}, 400, "mull.score"),
    ("no reward model", {"model": "bare", "mull": {"strategy": "best_of_n"}}, 400, "reward"),
    ("unknown aggregate", {"mull": {"strategy": "best_of_n", "score": {"steps": "max"}}}, 400, "'last', 'min'"),
    ("unknown answer kind", {"mull": {"answer": {"kind": "code"}}}, 400, "'math'"),
    ("progress events", {"mull": {"progress": "events"}}, 400, "'none'"),
    ("unknown include", {"mull": {"include": ["tree"]}}, 400, "'candidates'"),
    ("negative budget", {"mull": {"budget": {"policy_tokens": -1}}}, 400, "mull.budget.policy_tokens"),
    ("late deadline", {"mull": {"budget": {"deadline_ms": 10**7}}}, 400, "limits.deadline_ms"),
    ("two ways to search", {"reasoning_effort": "low", "mull": {"strategy": "sample"}}, 400, "one of them"),
    ("unknown effort", {"reasoning_effort": "extreme"}, 400, "'minimal'"),
    ("empty question", {"messages": [{"role": "user", "content": " \n"}]}, 400, "empty"),
    ("long question", {"messages": [{"role": "user", "content": "1" * 1001}]}, 400, "limits.question_chars"),
    ("no messages", {"messages": []}, 400, "`messages`"),
    ("no user message", {"messages": [{"role": "system", "content": "hi"}]}, 400, "user"),
    ("assistant last", {"messages": [*QUESTION, {"role": "assistant", "content": "2"}]}, 400, "user"),
    ("unknown role", {"messages": [{"role": "tool", "content": "2"}]}, 400, "messages[0].role"),
    ("no content", {"messages": [{"role": "user"}]}, 400, "messages[0].content"),
    ("content is null", {"messages": [{"role": "user", "content": None}]}, 400, "messages[0].content"),
    ("an image", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, '"type": "text"'),
    ("part with a number", {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, 400, "string"),
    ("stream options without a stream", {"stream_options": {"include_usage": True}}, 400, "both or neither"),
    ("logprobs as a number", {"logprobs": 3}, 400, "`logprobs`"),
    ("too many top_logprobs", {"logprobs": True, "top_logprobs": 21}, 400, "`top_logprobs`"),
    ("tools", {"tools": [{"type": "function"}]}, 400, "`tools` is not supported"),
    ("a schema that is none", {"response_format": {"type": "json_schema"}}, 400, "response_format"),
    ("an unknown form", {"response_format": {"type": "yaml"}}, 400, "response_format"),
    ("penalty over two", {"presence_penalty": 2.5}, 400, "`presence_penalty`"),
    ("two token caps", {"max_tokens": 5, "max_completion_tokens": 6}, 400, "one of them"),
    ("no tokens", {"max_tokens": 0}, 400, "`max_tokens`"),
    ("token cap as text", {"max_completion_tokens": "5"}, 400, "max_completion_tokens"),
    ("hot", {"temperature": 2.5}, 400, "`temperature`"),
    ("temperature as text", {"temperature": "1"}, 400, "`temperature`"),
    ("stop in a tree", {"stop": ["Q:"], "mull": {"strategy": "beam_search"}}, 400, "single steps"),
    ("warm greedy", {"temperature": 0.5, "mull": {"strategy": "greedy"}}, 400, "greedy decodes"),
    ("top_p of zero", {"top_p": 0}, 400, "`top_p`"),
    ("top_k of minus two", {"top_k": -2}, 400, "`top_k`"),
    ("min_p over one", {"min_p": 1.5}, 400, "`min_p`"),
    ("n of zero", {"n": 0}, 400, "`n`"),
    ("n over the candidates", {"n": 3, "mull": MAJORITY}, 400, "2 candidate(s)"),
    ("n of one sample", {"n": 2}, 400, "1 candidate(s)"),
    ("seed over 64 bits", {"seed": 2**63}, 400, "`seed`"),
    ("seed is true", {"seed": True}, 400, "`seed`"),
    ("five stops", {"stop": ["1", "2", "3", "4", "5"]}, 400, "`stop`"),
    ("empty stop", {"stop": ""}, 400, "`stop[0]`"),
    ("a prompt for a chat", {"prompt": "1+1?"}, 400, "messages"),
]

BROKEN = [
    ("nothing", b"", 400),
    ("half a body", b'{"model": "tiny", "mess', 400),
    ("a list", b"[]", 400),
    ("null", b"null", 400),
    ("NaN", json.dumps(CHAT | {"temperature": float("nan")}).encode(), 400),
    ("infinity", json.dumps(CHAT | {"temperature": float("inf")}).encode(), 400),
    ("a number too large", b'{"model": "tiny", "messages": [{"role": "user", "content": "1"}], "top_p": 1e999}', 400),
    ("a key twice", b'{"model": "tiny", "model": "bare", "messages": [{"role": "user", "content": "1"}]}', 400),
    ("not UTF-8", b'{"model": "tiny", "messages": [{"role": "user", "content": "\xff"}]}', 400),
    ("half a surrogate", b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
    ("depth", b"[" * 100_000, 400),
    ("ten thousand digits", b'{"seed": ' + b"1" * 10_000 + b"}", 400),
    ("two megabytes", b" " * 2_000_000 + b"{}", 413),
]


def assert_refused(response: httpx.Response, status: int, words: str = "") -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "trace_id"}
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(("fields", "status", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_field_is_refused_with_what_to_do(
    http: httpx.AsyncClient, workers: FakeWorkers, fields: dict[str, Any], status: int, words: str
) -> None:
    """A bad chat body gets a 4xx in OpenAI's shape that names the fault, and no search."""
    assert_refused(await http.post("/v1/chat/completions", json=CHAT | fields), status, words)
    assert not workers.requests


@pytest.mark.parametrize(("body", "status"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
async def test_broken_body_is_refused(http: httpx.AsyncClient, workers: FakeWorkers, body: bytes, status: int) -> None:
    """What is no strict JSON object gets a 4xx in OpenAI's shape, and no search."""
    response = await http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert_refused(response, status)
    assert not workers.requests


@pytest.mark.parametrize("prompt", ["", None, [], ["1+1?", "2+2?"], [1, 2], 5])
async def test_completion_wants_one_text(http: httpx.AsyncClient, prompt: Any) -> None:
    """A prompt that is not one text with something in it is refused."""
    response = await http.post("/v1/completions", json={"model": "tiny", "prompt": prompt})
    assert_refused(response, 400, "")
    assert response.json()["error"]["param"] == "prompt"


async def test_body_must_say_it_is_json(http: httpx.AsyncClient) -> None:
    """A form, as curl sends it by default, gets a 415 that says what to send."""
    response = await http.post("/v1/chat/completions", data={"model": "tiny"})
    assert_refused(response, 415, "application/json")


async def test_unknown_path_is_404(http: httpx.AsyncClient) -> None:
    """A path that leads nowhere gets our body, which names the ones that do."""
    assert_refused(await http.get("/v1/embeddings"), 404, "/v1/chat/completions")


async def test_wrong_method_is_405(http: httpx.AsyncClient) -> None:
    """A wrong method gets our body and the Allow header."""
    response = await http.get("/v1/chat/completions")
    assert_refused(response, 405, "POST")
    assert response.headers["allow"] == "POST"
