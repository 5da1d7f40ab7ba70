"""Asking a cluster's head whether we belong to it, without a cluster."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RpcError

from service import ray_membership
from service.ray_membership import Membership
from service.stack.ports import free_ports

NODE = "ab" * 28


class Head:
    """Answers `alive`; `clients` counts who has asked for a connection."""

    def __init__(self) -> None:
        self.alive: bool | Exception = True
        self.clients = 0

    def client(self, address: str) -> "Head":
        """Return a new client."""
        self.clients += 1
        return self

    def check_alive(self, nodes: list[Any], timeout: float) -> list[bool]:
        """Answer for the one node."""
        assert [node.hex() for node in nodes] == [NODE]
        assert timeout > 0
        if isinstance(self.alive, Exception):
            raise self.alive
        return [self.alive]


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def membership(monkeypatch: pytest.MonkeyPatch, head: Head, port: int) -> Membership:
    context = SimpleNamespace(gcs_address=f"127.0.0.1:{port}", get_node_id=lambda: NODE)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray_membership, "GcsClient", head.client)
    return Membership()


def test_one_client_asks_again_and_again(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """What the head says is what comes back."""
    head = Head()
    asking = membership(monkeypatch, head, port)
    assert asking.holds() is True
    head.alive = False
    assert asking.holds() is False
    assert head.clients == 1


def test_new_client_asks_after_a_failure(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """A client belongs to the head that it has met first; another one may have come in its place."""
    head = Head()
    asking = membership(monkeypatch, head, port)
    head.alive = RpcError("it is another cluster", rpc_code=16)
    with pytest.raises(RpcError):
        asking.holds()
    head.alive = False
    assert asking.holds() is False
    assert head.clients == 2


def test_no_client_is_made_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's would wait for the better part of a minute."""
    head = Head()
    with pytest.raises(OSError, match="refused"):
        membership(monkeypatch, head, next(free_ports())).holds()
    assert head.clients == 0
