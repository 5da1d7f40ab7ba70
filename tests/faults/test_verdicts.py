"""What is held against a reply: an answer that is none, an error with another's status, a stream without an end."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from fault_catalogue import FAULTS
from levels import MORE_HANDLES, Level, leaks
from table import BEGIN, END, Table
from traffic import HUNG, LOST, Seen, ask, follow
from trial import Outcome

CHAT: dict[str, Any] = {
    "choices": [{"message": {"content": "58"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "mull": {"stopped_by": "completed", "candidates": [{"text": "58", "scores": [0.5]}]},
}
DELTA = {"choices": [{"delta": {"content": "58"}}], "mull": {"stopped_by": "deadline"}}
DONE = {"id": "resp_1", "status": "completed", "output": [{"content": [{"text": "58"}]}]}
ERROR = {"error": {"message": "No.", "type": "engine_error", "param": None, "code": "EngineUnavailable"}}


def events(*told: object) -> str:
    """Server-sent events."""
    return "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in told)


async def seen_of(kind: str, status: int, said: object) -> Seen:
    """What a client says of a server that always says the same; a `str` is sent as a stream."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(said, str):
            return web.Response(text=said, content_type="text/event-stream")
        return web.json_response(said, status=status)

    async with serving(answer) as url, aiohttp.ClientSession() as http:
        return await ask(http, url, 0, kind, 1, 1.0)


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The root of a server that answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "status", "said", "outcome"),
    [
        ("plain", 200, CHAT, "ok"),
        ("plain", 503, ERROR, "EngineUnavailable"),
        ("sample", 200, events(DELTA, "[DONE]"), "best so far"),
        ("sample", 200, events(DELTA, ERROR), "EngineUnavailable"),
        ("score", 200, {"data": [{"scores": [0.0, 1.0]}]}, "ok"),
        ("job", 200, {"id": "resp_1", "status": "queued"}, "ok"),
    ],
)
async def test_what_is_as_it_must_be(kind: str, status: int, said: object, outcome: str) -> None:
    """Answers and errors of every kind, with nothing held against them."""
    seen = await seen_of(kind, status, said)
    assert (seen.outcome, seen.wrong, seen.late) == (outcome, "", False)


@pytest.mark.parametrize(
    ("kind", "status", "said", "wrong"),
    [
        ("plain", 200, CHAT | {"choices": [{"message": {"content": "7"}}]}, "answers what is no candidate"),
        ("plain", 200, CHAT | {"usage": CHAT["usage"] | {"total_tokens": 9}}, "does not add up"),
        ("plain", 502, ERROR, "with status 502"),
        ("plain", 500, {"detail": "oops"}, "not of OpenAI's shape"),
        ("plain", 500, {"error": ERROR["error"] | {"code": "Oops"}}, "none of ours"),
        ("sample", 200, events(DELTA), "broke off without a word"),
        ("sample", 200, events(DELTA | {"mull": {}}, "[DONE]"), "does not say what stopped it"),
        ("score", 200, {"data": [{"scores": []}]}, "has the scores"),
    ],
)
async def test_what_is_not(kind: str, status: int, said: object, wrong: str) -> None:
    """Each is named."""
    assert wrong in (await seen_of(kind, status, said)).wrong


async def test_a_limited_search_must_keep_its_budget() -> None:
    """More policy tokens than it was given are too many."""
    usage = {"prompt_tokens": 1, "completion_tokens": 10**6, "total_tokens": 10**6 + 1}
    assert "has spent" in (await seen_of("limited", 200, CHAT | {"usage": usage})).wrong
    assert (await seen_of("plain", 200, CHAT | {"usage": usage})).wrong == ""


@pytest.mark.parametrize(
    ("status", "told", "types", "verdict"),
    [
        (200, DONE, ["response.created", "response.completed"], ("ok", "")),
        (200, DONE, ["response.completed", "response.completed"], ("ok", "has the endings")),
        (200, DONE, ["response.created", "response.failed"], ("ok", "has the endings")),
        (200, DONE | {"output": []}, ["response.completed"], ("ok", "has no text")),
        (404, {"error": ERROR["error"] | {"code": "UnknownResponse"}}, [], ("gone", "")),
    ],
)
async def test_a_job_ends_once(status: int, told: object, types: list[str], verdict: tuple[str, str]) -> None:
    """With one result, which its one last event tells as well."""

    async def answer(request: web.Request) -> web.Response:
        if "stream" in request.query:
            said = events(*({"type": type} for type in types), "[DONE]")
            return web.Response(text=said, content_type="text/event-stream")
        return web.json_response(told, status=status)

    accepted = Seen("job", 0, 200, "ok", 0.1, 1.0, job="resp_1")
    async with serving(answer) as url, aiohttp.ClientSession() as http:
        seen = await follow(http, (url, url), accepted)
    assert (seen.outcome, seen.wrong.split(" [")[0]) == verdict


def test_a_leak_is_seen() -> None:
    """What is clearly more than before, in a process that was there before."""
    before, now = Level(50, 20, 100), Level(51 + MORE_HANDLES, 20, 100)
    assert leaks({"gateway 1": before}, {"gateway 1": now, "worker 3": now}) == ["gateway 1: handles 50 → 91"]
    assert leaks({"gateway 1": before}, {"gateway 1": before}) == []


def test_no_fault_allows_silence() -> None:
    """Nothing may hang, and only a gateway that dies may break off without a word."""
    allowed = {fault.name: fault.direct | (fault.told or frozenset()) for fault in FAULTS}
    assert [name for name, outcomes in allowed.items() if HUNG in outcomes] == []
    assert {name for name, outcomes in allowed.items() if LOST in outcomes} == {
        "gateway killed",
        "Ray's GCS killed",
        "Ray killed",
    }


def test_the_table_replaces_what_is_between_its_marks(tmp_path: Path) -> None:
    """The page around it stays."""
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\nold\n{END}\nafter\n")
    table = Table()
    direct = (Seen("plain", 0, 200, "ok", 1.0, 8.0), Seen("sample", 1, 200, "EngineError", 2.5, 8.0))
    table.add(Outcome("a fault", direct, (), 0.25, ()))
    table.write(page, "pytest")
    text = page.read_text()
    assert text.startswith(f"# Page\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "| a fault | 1 ok, 1 200 EngineError | 2.5 | — | 0.2 |" in text
    assert "old" not in text
