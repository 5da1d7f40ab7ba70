"""What a value head says at the last token: token-wise pooling, of which vLLM can only tell all."""

import base64
import struct
from math import isfinite
from typing import Any

from reward_models.protocol import Answer
from service.engines.failures import unusable
from service.engines.fleet import Fleet
from service.engines.readings.pooling import pooled
from service.engines.readings.reading import Ready
from service.search.ports import Bill

_FLOAT32 = struct.Struct("<f")


async def read_last_value(engine: Fleet, ready: Ready, bill: Bill) -> Answer:
    """Read one row of one number: the head's own, without any activation.

    One number comes back for each token of the prompt, so they come as base64: a quarter of their length in JSON.
    """
    data = await pooled(
        engine,
        ready,
        bill,
        task="token_classify",
        use_activation=False,
        encoding_format="base64",
        embed_dtype="float32",
        endianness="little",
    )
    try:
        return Answer(rows=((_last(data, len(ready.prompt)),),))
    except ValueError as cause:
        raise unusable(engine.title, "did not give one number for each token of its prompt") from cause


def _last(data: Any, tokens: int) -> float:
    if not isinstance(data, str):
        raise ValueError("not base64")
    values = base64.b64decode(data, validate=True)
    if len(values) != tokens * _FLOAT32.size:
        raise ValueError(f"{len(values)} bytes for {tokens} tokens")
    (value,) = _FLOAT32.unpack_from(values, len(values) - _FLOAT32.size)
    if not isfinite(value):
        raise ValueError(f"{value} is no value")
    return float(value)
