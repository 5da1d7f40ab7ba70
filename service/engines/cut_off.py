"""What a stream that was cut off has left untold: its text lags behind its token ids, and both must go on alike."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from service.errors import MullError

BEFORE = 8
"""Tokens of the prompt that are read with it: how a tokenizer writes a token depends on what stands before."""
WITHIN_S = 2.0
HALF_A_CHARACTER = "\ufffd"


async def untold(
    decode: Callable[[Sequence[int]], Awaitable[str]],
    prompt: Sequence[int],
    ids: Sequence[int],
    told: str,
    stops: Sequence[str],
) -> str | None:
    """Return what the text of `ids`, which came after `prompt`, has beyond `told`.

    `None` where nothing can be written after it as if it had not been cut: within a character or, it may be, one of the
    `stops`; where the text is another than was told; and where the engine does not say in time.
    """
    before = list(prompt[-BEFORE:])
    try:
        async with asyncio.timeout(WITHIN_S):
            begin, whole = await decode(before), await decode([*before, *ids])
    except (MullError, TimeoutError):
        return None
    text = whole[len(begin) :]
    if not whole.startswith(begin) or not text.startswith(told) or text.endswith(HALF_A_CHARACTER):
        return None
    if any(text.endswith(stop[:length]) for stop in stops for length in range(1, len(stop))):
        return None
    return text[len(told) :]
