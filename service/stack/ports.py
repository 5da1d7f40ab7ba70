"""Ports for the parts whose port nobody has to know."""

import random
import socket
from collections.abc import Iterator

# Below Linux's range for outgoing connections, so that none of those takes a port between our look and its use.
RANGE = range(20_000, 32_768)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen on `port` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports() -> Iterator[int]:
    """Yield distinct ports on 127.0.0.1 that are free now."""
    candidates = list(RANGE)
    random.SystemRandom().shuffle(candidates)
    return (port for port in candidates if is_free(port))
