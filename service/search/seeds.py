"""Seeds belong to places in the tree, not to moments: the same request asks for the same candidates in any order."""

import struct
from hashlib import blake2b

from strategies.protocol import Path


def place_seed(request_seed: int, node: Path, written: int = 0) -> int:
    """Return the engine's seed for `node`: a hash of the request's seed and the path, in [0, 2**63).

    `written` counts the tokens of `node` that are there already where a stream was cut off and goes on: with the same
    seed the engine would draw the same random numbers once more.
    """
    place = b"".join(struct.pack("<q", index) for index in node) + (struct.pack("<q", -written) if written else b"")
    digest = blake2b(place, key=struct.pack("<q", request_seed), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
