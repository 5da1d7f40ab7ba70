"""The gateway as clients see it, on real engines. Every test asks its own question, so that no cache answers it."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

pytestmark = pytest.mark.stack

HELD_OUT = Path(__file__).parents[3] / "models" / "heldout.jsonl"
LIMIT_S = 60.0
ANEW = {"cache-control": "no-store"}
"""What is asked with this is searched from scratch, whatever has been asked before."""


@pytest.fixture
def http(stack: Any) -> httpx.Client:
    """A client of the running gateway."""
    return httpx.Client(base_url=stack.gateway_url, timeout=LIMIT_S)


def chat(**fields: Any) -> dict[str, Any]:
    """A word problem that nobody has asked before, as seeds differ."""
    question = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
    body = {"model": "tiny", "messages": [{"role": "user", "content": question}], "seed": uuid.uuid4().int % 2**62}
    return body | fields


def best_of(samples: int, **options: Any) -> dict[str, Any]:
    """The `mull` object of a search that shows its candidates, all of which come to their end."""
    strategy = {"name": "best_of_n", "samples": samples, "early_stop": "off"}
    return {"strategy": strategy, "include": ["candidates"], **options}


def test_openai_client_gets_an_answer(stack: Any) -> None:
    """The official client, with nothing changed but base_url and reasoning_effort, gets a solution."""
    client = openai.OpenAI(base_url=f"{stack.gateway_url}/v1", api_key="none", timeout=LIMIT_S)
    body = chat(reasoning_effort="low")
    answer = client.chat.completions.create(**body)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_completion_is_answered(http: httpx.Client) -> None:
    """A raw text is continued."""
    answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "Bo has 12 pens.", "max_tokens": 20}).json()
    assert answer["object"] == "text_completion"
    assert 0 < answer["usage"]["completion_tokens"] <= 20


def test_usage_adds_up(http: httpx.Client) -> None:
    """All tokens of all candidates are counted, the returned one's as kept, and scoring is counted apart."""
    body = http.post("/v1/chat/completions", json=chat(mull=best_of(4))).json()
    policy, reward, candidates = (
        body["mull"]["usage"]["policy"],
        body["mull"]["usage"]["reward"],
        body["mull"]["candidates"],
    )
    assert len(candidates) == 4
    assert policy["kept"] + policy["discarded"] == sum(c["tokens"] for c in candidates)
    assert body["usage"]["completion_tokens"] == policy["kept"] + policy["discarded"]
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == policy["discarded"]
    assert policy["prompt"] == 4 * body["usage"]["prompt_tokens"]
    assert reward["submitted"] + reward["remembered"] > 0
    assert all(0 <= s <= 1 for c in candidates for s in c["scores"])


def test_a_search_that_stops_early_answers_as_the_whole_one(http: httpx.Client) -> None:
    """Same seed, same winner, fewer tokens: best-of-16 with two in flight, with early stopping and without."""
    problem = json.loads(HELD_OUT.read_text().splitlines()[398])["problem"]
    answers = []
    for early in ("off", "exact"):
        strategy = {"name": "best_of_n", "samples": 16, "early_stop": early}
        mull = {"strategy": strategy, "score": {"steps": "min", "select": "best"}, "budget": {"parallel": 2}}
        body = chat(messages=[{"role": "user", "content": problem}], seed=7, mull=mull)
        answers.append(http.post("/v1/chat/completions", json=body, headers=ANEW).json())
    whole, early_stopped = answers
    assert whole["choices"] == early_stopped["choices"]
    assert (whole["mull"]["stopped_by"], early_stopped["mull"]["stopped_by"]) == ("completed", "decided")
    assert early_stopped["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    assert early_stopped["mull"]["usage"]["policy"]["estimated"] is False


@pytest.mark.parametrize(("source", "lowest"), [("self_certainty@5", 0.0), ("mean_logprob", -5.0)])
def test_candidates_can_be_judged_by_the_policys_own_log_probabilities(
    http: httpx.Client, source: str, lowest: float
) -> None:
    """No reward token is paid, each candidate has one score, and the best of them is returned."""
    mull = best_of(4, score={"source": source})
    found = http.post("/v1/chat/completions", json=chat(mull=mull)).json()["mull"]
    scores = [candidate["score"] for candidate in found["candidates"]]
    assert found["usage"]["reward"]["submitted"] == 0
    assert len(scores) == 4
    assert all(score > lowest for score in scores)
    assert scores[0] == max(c["score"] for c in found["candidates"] if c["answer"] == found["answer"])
    assert (max(scores) < 0) == (source == "mean_logprob")


def test_repeated_request_comes_from_redis(http: httpx.Client) -> None:
    """The same question asked twice in the same way is searched once, and a header says so."""
    body = chat(mull=best_of(2))
    first, again = (http.post("/v1/chat/completions", json=body) for _ in range(2))
    assert (first.headers["x-mull-cache"], again.headers["x-mull-cache"]) == ("miss", "hit")
    assert again.json()["choices"] == first.json()["choices"]
    assert again.json()["mull"]["cached"]


def test_evaluation_harness_gets_a_search_that_can_be_repeated(http: httpx.Client) -> None:
    """lm-evaluation-harness' body with its temperature 0 and seed 1234 gets distinct candidates, the same each time."""
    question = json.loads(HELD_OUT.read_text().splitlines()[398])["problem"]  # long enough to be solved in many ways
    body = {
        "messages": [{"role": "user", "content": question, "type": "text"}],
        "model": "tiny",
        "max_tokens": 128,
        "temperature": 0,
        "stop": ["Question:", "</s>"],
        "seed": 1234,
        "mull": best_of(8),
    }
    first = http.post("/v1/chat/completions", json=body).json()
    again = http.post("/v1/chat/completions", json=body, headers=ANEW)
    assert again.headers["x-mull-cache"] == "off"
    texts = [c["text"] for c in first["mull"]["candidates"]]
    assert len(set(texts)) >= 3
    assert sorted(texts) == sorted(c["text"] for c in again.json()["mull"]["candidates"])
    assert "temperature" in first["mull"]["warnings"][0]


def test_deadline_brings_the_best_so_far(http: httpx.Client) -> None:
    """At its deadline a search that cannot finish answers with what it has, or says that there is nothing."""
    begun = time.monotonic()
    response = http.post("/v1/chat/completions", json=chat(mull=best_of(64, budget={"deadline_ms": 400})))
    assert time.monotonic() - begun < 3
    if response.status_code == 200:
        assert response.json()["mull"]["stopped_by"] in ("deadline", "completed")
    else:
        assert response.json()["error"]["code"] == "NoAnswer"


def test_client_that_leaves_frees_the_engine(stack: Any, http: httpx.Client) -> None:
    """Soon after a client has gone, the policy works on nothing more for it."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=chat(mull=best_of(64)), timeout=0.4)
    deadline = time.monotonic() + 3
    while (running := _running(stack.policy_url)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running == 0
    assert 'endpoint="chat",status="499"' in http.get("/metrics").text


def _running(url: str) -> float:
    """Return how many requests a vLLM server has running or waiting."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


def test_question_over_the_context_is_refused(http: httpx.Client) -> None:
    """A question longer than the policy's context gets a 400 that says so, and the engine lives on."""
    messages = [{"role": "user", "content": "Bo has 12 pens. " * 500}]
    response = http.post("/v1/chat/completions", json=chat(messages=messages))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "QuestionTooLong"
    assert http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": -(2**63)},
        {"temperature": 1e-9},
        {"top_p": 1e-300, "min_p": 1.0, "top_k": 1_000_000},
        {"top_k": 0},
        {"stop": ["\n\n", ".", " ", "e"]},
        {"max_tokens": 1},
        {"messages": [{"role": "user", "content": "\u0000 ½ \U0001f600 <eos> {{ 7*7 }} <good> \r\n"}]},
    ],
)
def test_odd_but_legal_requests_do_not_hurt_the_engine(http: httpx.Client, fields: dict[str, Any]) -> None:
    """Values at the edge of what is allowed get an answer or a 4xx, and the engine lives on."""
    response = http.post("/v1/chat/completions", json=chat(max_tokens=20) | fields)
    assert response.status_code in (200, 400), response.text
    assert http.get("/readyz").status_code == 200
