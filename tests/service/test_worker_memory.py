"""What a worker gives a search of what earlier ones have left."""

from typing import Any

import pytest

from service import worker as worker_side
from service.search.memo import ScoreMemo, score_key
from service.search.pooling import Kept
from service.search.ports import Bill
from service.search.request import SearchRequest, SearchResult, SearchUsage
from service.search.trace import Grown
from service.search.usage import Counter
from service.settings import Settings
from service.worker import SearchWorker

KEYS = [score_key("1 + 1?", ("two",))]
SAMPLE = Kept((Grown(0.0, (0,), "tw", (5,), None, Bill(3, None, 1, exact=True), past=True),))
NOTHING_SPENT: SearchUsage = Counter(0).usage(set())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What searches were given."""
    given: list[dict[str, Any]] = []

    async def search(_: SearchRequest, **how: Any) -> SearchResult:
        given.append(how)
        return SearchResult(
            choices=(), candidates=(), votes=(), confidence=None, stopped_by="", usage=NOTHING_SPENT, seconds=0
        )

    monkeypatch.setattr(worker_side, "search", search)
    return given


def worker(url: str) -> SearchWorker:
    """A worker whose engines are never asked."""
    engine = {"model": "some/model", "url": "http://127.0.0.1:1"}
    parts = {"policies": {"p": engine}, "reward_models": {"r": engine}, "models": {"m": {"policy": "p", "reward": "r"}}}
    return SearchWorker(Settings.model_validate({**parts, "redis": {"url": url, "timeout_ms": 2000}}))


def request(memory: str) -> dict[str, Any]:
    """A search that is scored."""
    asked = {"model": "m", "prompt": "1 + 1?", "strategy": {"name": "best_of_n"}, "memory": memory}
    return SearchRequest.model_validate(asked).model_dump()


async def test_what_was_left_is_read_and_added_to(valkey: Any, asked: list[dict[str, Any]]) -> None:
    """`use`: one memory of scores for all searches, and the question's pool; what is left is written at last."""
    first = worker(valkey.url)
    for _ in range(2):
        await first.search(request("use"), 5.0)
    assert asked[0]["engines"].memo is asked[1]["engines"].memo is not None
    asked[0]["pool"].put(0, SAMPLE)
    await first.__del__()
    await worker(valkey.url).search(request("use"), 5.0)
    await asked[2]["pool"].open(1)
    assert asked[2]["pool"].get(0) == SAMPLE


async def test_nothing_is_read_and_all_is_kept(valkey: Any, asked: list[dict[str, Any]]) -> None:
    """`renew`."""
    here = worker(valkey.url)
    for memory in ("use", "renew"):
        await here.search(request(memory), 5.0)
    known: ScoreMemo = asked[0]["engines"].memo
    renewed: ScoreMemo = asked[1]["engines"].memo
    with known.claim(KEYS) as claim:
        claim.scores = {KEYS[0]: 0.25}
    assert await renewed.recall(KEYS) == {}
    with renewed.claim(KEYS) as claim:
        claim.scores = {KEYS[0]: 0.75}
    assert await renewed.recall(KEYS) == await known.recall(KEYS) == {KEYS[0]: 0.75}
    asked[1]["pool"].put(0, SAMPLE)
    await here.__del__()
    await asked[1]["pool"].open(1)
    assert asked[1]["pool"].get(0) is None


async def test_a_search_that_wants_no_memory_has_none(valkey: Any, asked: list[dict[str, Any]]) -> None:
    """`none`: it remembers its own scores only."""
    await worker(valkey.url).search(request("none"), 5.0)
    assert (asked[0]["engines"].memo, asked[0]["pool"]) == (None, None)
