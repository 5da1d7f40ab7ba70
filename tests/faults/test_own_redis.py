"""The server that is ill-treated: each ill-treatment does what it says, and is healed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_redis import OwnRedis
from redis import Redis
from redis.exceptions import ReadOnlyError, TimeoutError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    """A server with one value in it."""
    with OwnRedis(tmp_path / "redis") as running:
        client(running).set("name", "value")
        yield running


def client(server: OwnRedis, patience_s: float = 5.0) -> Redis:
    """A client of it, which sees bytes."""
    return Redis.from_url(server.url, socket_timeout=patience_s, retry=None)


def test_killed_it_comes_back_with_its_data(server: OwnRedis) -> None:
    """What it has acknowledged was on disk."""
    server.kill()
    server.heal()
    assert client(server).get("name") == b"value"


def test_it_can_forget_everything(server: OwnRedis) -> None:
    """As one that keeps nothing on disk does."""
    server.forget()
    assert client(server).get("name") is None


def test_hung_it_says_nothing_until_it_is_healed(server: OwnRedis) -> None:
    """The connection is there, the answer is not."""
    server.hang()
    with pytest.raises(TimeoutError):
        client(server, 0.2).get("name")
    server.heal()
    assert client(server).get("name") == b"value"


def test_read_only_it_reads(server: OwnRedis) -> None:
    """And takes no write until it is healed."""
    server.be_read_only()
    assert client(server).get("name") == b"value"
    with pytest.raises(ReadOnlyError):
        client(server).set("name", "other")
    server.heal()
    assert client(server).set("name", "other")


def test_slow_it_takes_its_time(server: OwnRedis) -> None:
    """Most commands wait, all are answered."""
    server.stutter(0.1, 0.001)
    begun = time.monotonic()
    for _ in range(5):
        assert client(server).get("name") == b"value"
    assert time.monotonic() - begun > 0.2
