"""The URL of a server, and the password beside it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import parse_url

from service.redis_client import redis_client
from service.settings import RedisSettings


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://[::1]:6379/3",
        "redis://:p%40ss@host:6379?db=2",
        "redis://user:secret@host",
        "rediss://host:6380/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false",
        "unix:///run/redis.sock?db=1&password=secret",
    ],
)
def test_what_the_client_understands_is_let_through(url: str) -> None:
    """And makes a client."""
    assert redis_client(RedisSettings.model_validate({"url": url})) is not None
    parse_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host", "must start with redis://"),
        ("redis:host", "must start with redis://"),
        ("redis://:pa/ss@host", "write / as %2F"),
        ("redis://host:99999", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://host/cache", "the number of a database"),
        ("redis://host?db=one", "db must be a number"),
        ("redis://host?socket_timeout=5", "no parameter 'socket_timeout'"),
        ("redis://host?ssl_cert_reqs=none", "no parameter 'ssl_cert_reqs' for redis://"),
        ("rediss://host?ssl_cert_reqs=no", "ssl_cert_reqs must be one of none, optional, required"),
        ("rediss://host?ssl_ca_cert=/ca.pem", "known: db, ssl_ca_certs"),
        ("unix://", "the path of a socket"),
    ],
)
def test_what_it_would_ignore_or_die_of_is_refused(url: str, said: str) -> None:
    """With a word about what is wrong, and none of the password."""
    with pytest.raises(ValidationError) as caught:
        RedisSettings.model_validate({"url": url})
    (error,) = caught.value.errors()
    assert said in error["msg"]
    assert "pa/ss" not in error["msg"]


async def test_a_password_in_the_environment(
    redis_binary: Path, server_with: Any, linked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold anything, unlike one in a URL."""
    monkeypatch.setenv("SOME_SECRET", "p@ss/w:rd%20")
    server = server_with(
        redis_binary, "--requirepass", "p@ss/w:rd%20", client="redis://:p%40ss%2Fw%3Ard%2520@127.0.0.1:{port}"
    )
    assert await linked(server.url, password_env="SOME_SECRET").ask(lambda redis: redis.set("k", "v")) == (True, True)
    inside = server.url.replace("//", "//:p%40ss%2Fw%3Ard%2520@")
    assert await linked(inside).ask(lambda redis: redis.get("k")) == (True, b"v")


async def test_a_socket_in_the_file_system(
    redis_binary: Path, server_with: Any, linked: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of a server on the same machine; the database is a parameter there."""
    socket = tmp_path_factory.mktemp("s") / "s"
    server = server_with(redis_binary, "--unixsocket", str(socket))
    assert await linked(f"unix://{socket}?db=2").ask(lambda redis: redis.set("k", "v")) == (True, True)
    with server.client() as beside:
        assert beside.info("keyspace").keys() == {"db2"}


@pytest.mark.parametrize("url", ["redis://:a@host", "unix:///s.sock?password=a"])
def test_two_passwords_are_one_too_many(url: str) -> None:
    """One of them would be ignored."""
    with pytest.raises(ValidationError, match="password_env"):
        RedisSettings.model_validate({"url": url, "password_env": "SOME_SECRET"})


async def test_a_wrong_password_is_an_outage_that_says_so(
    redis_binary: Path, server_with: Any, linked: Any, healed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on without it; when the server has been told of the password, with it."""
    server = server_with(redis_binary, "--requirepass", "right", client="redis://:right@127.0.0.1:{port}")
    for url in (server.url, server.url.replace("//", "//:wrong@")):
        link = linked(url)
        for _ in range(3):
            assert await link.ask(lambda redis: redis.get("k")) == (False, None)
        assert link.state == "down"
    assert [
        ("AuthenticationError" in record.getMessage(), "wrong@" in record.getMessage()) for record in caplog.records
    ] == [(True, False)] * 2
    with server.client() as beside:
        beside.config_set("requirepass", "wrong")
    await healed(link)
