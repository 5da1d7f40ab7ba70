"""What a gateway that is told to stop does with requests that are open."""

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from served import gateway

from service.search.request import SearchRequest, SearchResult

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}]}


class SlowWorkers(FakeWorkers):
    """Search for half a second."""

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer after a while."""
        self.requests.append(request)
        await asyncio.sleep(0.5)
        return await super().search(request, deadline_s)


def stopped_meanwhile(drain_s: int) -> "Future[httpx.Response]":
    """Stop a gateway while it has one request open; return what comes of it."""
    workers = SlowWorkers()
    with ThreadPoolExecutor() as threads:
        with gateway(settings(gateway={"drain_s": drain_s}), workers) as port:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            answer = threads.submit(httpx.post, url, json=BODY, timeout=20)
            due = time.monotonic() + 10
            while not workers.requests and time.monotonic() < due:
                time.sleep(0.01)
        with pytest.raises(httpx.ConnectError):
            httpx.post(url, json=BODY)
        return answer


def test_open_requests_are_answered() -> None:
    """It takes no new ones meanwhile: no request is lost where others do."""
    assert stopped_meanwhile(drain_s=10).result().status_code == 200


def test_drain_has_an_end() -> None:
    """Who is still waiting then is told so."""
    answer = stopped_meanwhile(drain_s=0).result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "EngineUnavailable")
    assert answer.headers["retry-after"] == "5"
