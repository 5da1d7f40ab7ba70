"""What a dry run knows of seconds."""

from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}]}
VOTE = {"name": "majority_vote", "samples": 4, "early_stop": "off"}


async def seconds(http: httpx.AsyncClient, **mull: Any) -> float | None:
    body = {**CHAT, "max_tokens": 64, "mull": {"dry_run": True, **mull}}
    answered = await http.post("/v1/chat/completions", json=body)
    found: float | None = answered.json()["expected"]["seconds"]
    return found


async def test_a_dry_run_goes_by_the_searches_that_were_made(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Of the same strategy: another one writes at another pace."""
    assert await seconds(http, strategy=VOTE) is None
    made = await http.post("/v1/chat/completions", json={**CHAT, "mull": {"strategy": VOTE}})
    usage = made.json()["mull"]["usage"]["policy"]
    searched = (await workers.search(workers.requests[-1], 5)).seconds
    expected = 4 * 64 * searched / (usage["kept"] + usage["discarded"])
    assert await seconds(http, strategy=VOTE) == pytest.approx(min(expected, 120), abs=0.001)
    assert await seconds(http, strategy="greedy") is None


async def test_no_search_takes_longer_than_its_deadline(http: httpx.AsyncClient) -> None:
    """It is stopped there."""
    await http.post("/v1/chat/completions", json={**CHAT, "mull": {"strategy": VOTE}})
    assert await seconds(http, strategy=VOTE, budget={"deadline_ms": 1}) == 0.001
