"""What a worker tells of its search, without engines."""

import asyncio
from typing import Any

import pytest
from fake_workers import result, settings

from service import worker as worker_side
from service.errors import NoAnswer
from service.search.progress import Interest, Progress
from service.search.request import SearchRequest, SearchResult, WorkerReply
from service.search.steps import StepSplitter
from service.search.watch import Watch
from service.settings import StepForm
from service.worker import SearchWorker
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="bare", prompt="1+1=", strategy=SampleOne())
TEXT = Interest(text=True).model_dump()


@pytest.fixture
def worker() -> SearchWorker:
    """A worker whose engines are never asked."""
    engine = {"model": "some/policy", "url": "http://127.0.0.1:1"}
    return SearchWorker(settings(policies={"p": engine}, reward_models={}, models={"bare": {"policy": "p"}}))


def searching_by(monkeypatch: pytest.MonkeyPatch, search: Any) -> None:
    """Have the worker search so."""
    monkeypatch.setattr(worker_side, "search", search)


async def wrote_one_word(_: SearchRequest, *, watch: Watch, **__: Any) -> SearchResult:
    splitter = StepSplitter(StepForm())
    splitter.feed("So")
    watch.wrote(splitter)
    await asyncio.sleep(0)
    return result(REQUEST)


async def test_progress_and_reply_cross_as_plain_data(worker: SearchWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply is the last that comes, and the only one of its shape."""
    searching_by(monkeypatch, wrote_one_word)
    *told, last = [item async for item in worker.watch(REQUEST.model_dump(), 5.0, TEXT)]
    assert told == [Progress(text="So").model_dump()]
    assert last == WorkerReply(result=result(REQUEST)).model_dump()


async def test_error_is_a_reply(worker: SearchWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It crosses the process boundary as data."""

    async def fail(_: SearchRequest, **__: Any) -> SearchResult:
        raise NoAnswer("Too late.")

    searching_by(monkeypatch, fail)
    items = [item async for item in worker.watch(REQUEST.model_dump(), 5.0, TEXT)]
    assert [item["error"]["message"] for item in items] == ["Too late."]


async def test_closing_stops_the_search(worker: SearchWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search has ended when the generator is closed."""
    ended = asyncio.Event()

    async def search_on(request: SearchRequest, *, watch: Watch, **more: Any) -> SearchResult:
        try:
            await wrote_one_word(request, watch=watch, **more)
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    searching_by(monkeypatch, search_on)
    items = worker.watch(REQUEST.model_dump(), 5.0, TEXT)
    assert (await anext(items))["text"] == "So"
    await items.aclose()
    assert ended.is_set()
