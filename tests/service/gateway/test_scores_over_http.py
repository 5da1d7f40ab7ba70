import asyncio
import logging
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from starlette.types import ASGIApp

from service.errors import EngineError, EngineUnavailable, NoAnswer, Overloaded, QuestionTooLong
from service.gateway.app import create_app

ASK: dict[str, Any] = {"model": "tiny", "question": "What is 1+1?", "solutions": ["1\n\n2", "3"]}

# What is wrong, the fields laid over a good body (`...` leaves one out), the status, and what the message must hold.
BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown field", {"solution": "2"}, 400, "model, mull, question, solutions, steps"),
    ("unknown mull field", {"mull": {"strategy": "sample"}}, 400, "budget"),
    ("a budget of searches", {"mull": {"budget": {"policy_tokens": 5}}}, 400, "deadline_ms, reward_tokens"),
    ("no model", {"model": ...}, 400, "`model` is missing"),
    ("unknown model", {"model": "huge"}, 404, "tiny, bare"),
    ("no reward model", {"model": "bare"}, 400, "'bare' has no reward model"),
    ("no question", {"question": ...}, 400, "`question` is missing"),
    ("empty question", {"question": " \n"}, 400, "empty"),
    ("question is a chat", {"question": [{"role": "user", "content": "1"}]}, 400, "`question`"),
    ("long question", {"question": "1" * 1001}, 400, "limits.question_chars"),
    ("nothing to score", {"solutions": ...}, 400, "both missing"),
    ("null to score", {"solutions": None}, 400, "both missing"),
    ("two ways to say it", {"steps": [["1"]]}, 400, "both given"),
    ("no solutions", {"solutions": []}, 400, "at least one"),
    ("no steps", {"solutions": ..., "steps": []}, 400, "at least one"),
    ("one text", {"solutions": "2"}, 400, "`solutions`"),
    ("a number among texts", {"solutions": ["1", 2]}, 400, "`solutions[1]`"),
    ("a text among steps", {"solutions": ..., "steps": [["1"], "2"]}, 400, "`steps[1]`"),
    ("a number among steps", {"solutions": ..., "steps": [["1"], ["2", None]]}, 400, "`steps[1][1]`"),
    ("many solutions", {"solutions": ["2"] * 65}, 400, "limits.samples"),
    ("many lists of steps", {"solutions": ..., "steps": [["2"]] * 65}, 400, "limits.samples"),
    ("long solution", {"solutions": ["2", "1" * 1001]}, 400, "`solutions[1]` has 1001 characters"),
    ("long steps", {"solutions": ..., "steps": [["1" * 500, "1" * 501]]}, 400, "`steps[0]` has 1001 characters"),
    ("no budget", {"mull": {"budget": {"reward_tokens": 0}}}, 400, "mull.budget.reward_tokens"),
    ("budget as text", {"mull": {"budget": {"reward_tokens": "9"}}}, 400, "mull.budget.reward_tokens"),
    ("late deadline", {"mull": {"budget": {"deadline_ms": 10**7}}}, 400, "limits.deadline_ms"),
]


@pytest.mark.parametrize(("fields", "status", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_bad_body_is_refused_with_what_to_do(
    http: httpx.AsyncClient, workers: FakeWorkers, fields: dict[str, Any], status: int, words: str
) -> None:
    """It gets a 4xx in OpenAI's shape that names the fault, and no worker is asked."""
    body = {field: value for field, value in (ASK | fields).items() if value is not ...}
    response = await http.post("/v1/score", json=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "trace_id"}
    assert words in error["message"]
    assert not workers.scorings


async def test_each_solution_has_its_steps_and_scores(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """A list as vLLM's own of scores: model, data in the order of the request, usage; and Mull's object."""
    response = await http.post("/v1/score", json=ASK, headers={"x-request-id": "run-7"})
    assert response.status_code == 200
    body = response.json()
    assert (body["id"], body["object"], body["model"]) == ("score-run-7", "list", "tiny")
    assert body["data"] == [
        {"index": 0, "object": "score", "steps": ["1", "2"], "scores": [0.5, 0.5]},
        {"index": 1, "object": "score", "steps": ["3"], "scores": [0.5]},
    ]
    assert body["usage"] == {
        "prompt_tokens": 60,
        "completion_tokens": 3,
        "total_tokens": 63,
        "prompt_tokens_details": {"cached_tokens": 15},
    }
    assert body["mull"]["reads"] == "step"
    assert body["mull"]["usage"]["reward"]["submitted"] == 60
    assert body["mull"]["cost"] == pytest.approx(60 * 0.5e-6)
    assert body["mull"]["trace_id"] == "run-7"
    assert body["mull"]["seconds"] >= 0


async def test_whole_answers_have_one_score_each(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """What an outcome reward model says is not shown as the score of a step."""
    workers.reads = "answer"
    body = (await http.post("/v1/score", json=ASK | {"solutions": ["2", "3"]})).json()
    assert body["data"] == [
        {"index": 0, "object": "score", "score": 0.5},
        {"index": 1, "object": "score", "score": 0.5},
    ]
    assert body["mull"]["reads"] == "answer"


async def test_the_worker_is_told_what_was_asked(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Steps, budget and deadline arrive as they were sent."""
    budget = {"reward_tokens": 50, "deadline_ms": 2000}
    body = {"model": "tiny", "question": "1+1?", "steps": [["½", ""]], "mull": {"budget": budget}}
    assert (await http.post("/v1/score", json=body)).status_code == 200
    (asked,) = workers.scorings
    assert (asked.steps, asked.solutions, asked.question) == ((("½", ""),), None, "1+1?")
    assert asked.budget.reward_tokens == 50
    assert workers.deadlines == [pytest.approx(2, abs=0.2)]


async def test_no_price_no_cost(workers: FakeWorkers) -> None:
    """Without a configured price no cost is made up."""
    config = settings(reward_models={"r": {"model": "some/prm"}})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        assert "cost" not in (await http.post("/v1/score", json=ASK)).json()["mull"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineUnavailable("The reward model is down."), 503),
        (Overloaded("Full."), 503),
        (EngineError("Nonsense from the reward model."), 502),
        (NoAnswer("The deadline passed before all solutions were scored."), 504),
        (QuestionTooLong("`solutions[1]`: 900 tokens; the reward model takes 512 in all."), 400),
    ],
)
async def test_errors_have_their_status(http: httpx.AsyncClient, workers: FakeWorkers, error: Any, status: int) -> None:
    """Whatever fails below fails the request, in OpenAI's shape."""
    workers.error = error
    response = await http.post("/v1/score", json=ASK)
    assert response.status_code == status
    assert response.json()["error"]["code"] == type(error).__name__
    assert response.json()["error"]["message"].startswith(error.message)


async def test_deadline_is_kept_when_workers_are_silent(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """A moment after the deadline the scoring is cancelled and the client gets a 504 that says so."""
    workers.hold = True
    response = await http.post("/v1/score", json=ASK | {"mull": {"budget": {"deadline_ms": 50}}})
    assert response.status_code == 504
    assert "deadline of 0.05 s" in response.json()["error"]["message"]
    assert workers.cancelled == 1


async def test_what_scores_have_cost_is_counted(http: httpx.AsyncClient) -> None:
    """Requests by endpoint, and reward tokens as those of searches are."""
    await http.post("/v1/score", json=ASK)
    text = (await http.get("/metrics")).text
    assert 'mull_requests_total{endpoint="score",status="200",strategy="none"} 1.0' in text
    assert 'mull_reward_tokens_total{kind="submitted",strategy="none"} 60.0' in text
    assert 'mull_reward_tokens_total{kind="cached",strategy="none"} 15.0' in text
    assert 'mull_reward_tokens_total{kind="generated",strategy="none"} 3.0' in text


async def test_log_line_has_no_word_of_the_solution(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """One line per request with its id and status; question and solutions stay private."""
    logging.getLogger("mull").propagate = True
    with caplog.at_level(logging.INFO, logger="mull"):
        await http.post("/v1/score", json=ASK | {"solutions": ["quite secret"]})
    (record,) = [r for r in caplog.records if r.name == "mull.access"]
    assert vars(record)["fields"]["status"] == 200
    assert "secret" not in str(vars(record))


async def test_client_that_leaves_cancels_its_scoring(workers: FakeWorkers) -> None:
    """When the client disconnects, the worker is told at once; the metrics call it 499."""
    workers.hold = True
    app = create_app(settings(), workers)
    messages = asyncio.Queue[dict[str, Any]]()
    body = httpx.Request("POST", "http://mull", json=ASK).content
    messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
    talking = asyncio.create_task(_talk(app, messages))
    await asyncio.wait_for(workers.asked.wait(), 2)
    messages.put_nowait({"type": "http.disconnect"})
    await talking
    assert workers.cancelled == 1
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mull") as http:
        assert (
            'mull_requests_total{endpoint="score",status="499",strategy="none"} 1.0'
            in (await http.get("/metrics")).text
        )


async def _talk(app: ASGIApp, messages: asyncio.Queue[dict[str, Any]]) -> None:
    """Serve one request whose client sends `messages` and reads nothing."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/score",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
    }

    async def nowhere(message: Any) -> None:
        """Nobody is there to read."""

    await asyncio.wait_for(app(scope, messages.get, nowhere), 2)


async def test_openapi_describes_the_request(http: httpx.AsyncClient) -> None:
    """Its fields and those of the answer can be read from the description."""
    document = (await http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert set(schemas["ScoreAsk"]["properties"]) == {"model", "question", "solutions", "steps", "mull"}
    assert set(schemas["ScoreBudget"]["properties"]) == {"reward_tokens", "deadline_ms"}
    answer = document["paths"]["/v1/score"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["$ref"].endswith("/ScoreList")
