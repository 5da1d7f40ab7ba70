"""Whether this process still belongs to a Ray cluster that lives."""

import socket
from typing import Any

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]

CONNECT_S, ANSWER_S = 2.0, 3


class Membership:
    """What the head of a cluster knows of the node that this process is on, as it is when this is made.

    Ray's public `ray.nodes()` ends the whole process where the head is gone; its client, asked directly, raises.
    """

    def __init__(self) -> None:
        context = ray.get_runtime_context()
        self._address: str = context.gcs_address
        self._node = ray.NodeID.from_hex(context.get_node_id())
        self._client: Any = None

    def holds(self) -> bool:
        """Ask the head whether the node is alive: one that was started anew, at the same address, does not know it.

        Raises `OSError` or `RayError` where no head answers. Blocks for seconds; where a head accepts connections and
        says nothing, for as long as Ray waits.
        """
        host, _, port = self._address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        # After a failure a new client asks: the old one may be that of a head that is no more.
        client, self._client = self._client or GcsClient(address=self._address), None
        (alive,) = client.check_alive([self._node], ANSWER_S)
        self._client = client
        return bool(alive)


def addresses() -> set[str]:
    """Return the addresses of the cluster's live nodes."""
    return {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
