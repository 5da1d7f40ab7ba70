"""Engines that only one machine reaches, on a cluster of several."""

from typing import Any

import pytest

from service.errors import StackError
from service.settings import Settings
from service.stack.reach import check_reach

HERE, THERE = "10.0.0.1", "10.0.0.2"


def settings(engine: str, redis: str | None = None) -> Settings:
    """One policy, and Redis where it has a url."""
    data: dict[str, Any] = {
        "policies": {"p": {"model": "m", "url": engine}},
        "models": {"bare": {"policy": "p"}},
        "redis": {"url": redis} if redis is not None else {"enabled": False},
    }
    return Settings.model_validate(data)


@pytest.mark.parametrize("engine", ["http://127.0.0.1:8101", "http://localhost:8101", "http://[::1]:8101"])
def test_engine_on_one_of_several_machines_is_refused(engine: str) -> None:
    """Searches on the other one would fail, now and then."""
    with pytest.raises(StackError, match="only one of them reaches") as caught:
        check_reach(settings(engine), {HERE, THERE})
    assert "address that all nodes reach" in caught.value.hint


@pytest.mark.parametrize("nodes", [{HERE}, {"127.0.0.1", "127.0.0.2"}, {"127.0.0.1"}])
def test_one_machine_reaches_itself(nodes: set[str]) -> None:
    """Also where it is several nodes."""
    assert check_reach(settings("http://127.0.0.1:8101"), nodes) == []


@pytest.mark.parametrize("url", ["unix:///run/redis.sock", "redis://localhost:6379", "rediss://127.0.0.1:6379"])
def test_redis_on_one_machine_is_told(url: str) -> None:
    """Workers can do without it."""
    assert len(check_reach(settings("http://engine:8101", url), {HERE, THERE})) == 1


def test_what_all_reach_is_fine() -> None:
    """Names are not looked up."""
    assert check_reach(settings("http://engine:8101", "redis://redis:6379"), {HERE, THERE}) == []
