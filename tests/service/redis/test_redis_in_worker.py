"""What a search may wait for Redis in a worker."""

from typing import Any

import pytest

from service.errors import EngineUnavailable
from service.redis_allowance import current_allowance
from service.settings import Settings
from service.worker import SearchWorker

SETTINGS = Settings.model_validate(
    {
        "policies": {"p": {"model": "some/policy", "url": "http://127.0.0.1:1"}},
        "reward_models": {"r": {"model": "some/prm", "family": "label_token", "url": "http://127.0.0.1:1"}},
        "models": {"tiny": {"policy": "p", "reward": "r"}},
        "redis": {"enabled": False, "timeout_ms": 100},
    }
)
SEARCH = {"model": "tiny", "messages": [{"role": "user", "content": "?"}], "strategy": {"name": "sample"}}
SCORE = {"model": "tiny", "question": "?", "solutions": ["1"]}


@pytest.mark.parametrize("what", ["search", "score"])
async def test_a_worker_has_its_share(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Four tenths of `redis.timeout_ms`, for each call anew."""
    seconds: list[float] = []

    async def fail(*_: Any, **__: Any) -> None:
        mine = current_allowance()
        seconds.append(0 if mine is None else mine.seconds)
        raise EngineUnavailable("noted")

    monkeypatch.setattr("service.worker.search", fail)
    monkeypatch.setattr("service.worker.judge", fail)
    worker = SearchWorker(SETTINGS)
    for _ in range(2):
        reply = await (worker.search(SEARCH, 1) if what == "search" else worker.score(SCORE, 1))
        assert reply["error"]["message"] == "noted"
    assert seconds == [pytest.approx(0.04)] * 2
    assert current_allowance() is None
