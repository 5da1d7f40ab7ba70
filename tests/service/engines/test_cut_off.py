"""The text that a stream which was cut off has not told any more."""

import asyncio
from collections.abc import Sequence

import pytest

from service.engines import cut_off
from service.engines.cut_off import untold
from service.engines.failures import gone

WORDS = ["<s>", "is", " it", " seventeen", "?", " é", "\ufffd"]


async def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[i] for i in ids)


@pytest.mark.parametrize(
    ("ids", "told", "stops", "left"),
    [
        ((2, 3), " it", (), " seventeen"),
        ((2, 3), " it sev", (), "enteen"),
        ((2, 3), " it seventeen", (), ""),
        ((2, 3), " it seventeen", ("###",), ""),
    ],
)
async def test_what_the_ids_say_beyond_what_was_told(
    ids: tuple[int, ...], told: str, stops: tuple[str, ...], left: str
) -> None:
    """It is the difference of two decoded texts: of the prompt's end, with and without the ids."""
    assert await untold(decode, (0, 1), ids, told, stops) == left


@pytest.mark.parametrize(
    ("ids", "told", "stops"),
    [
        ((2, 6), " it", ()),  # within a character
        ((2, 3), " is", ()),  # not the text that was told
        ((2, 3), " it", ("nuts",)),  # "n" may be its beginning
    ],
)
async def test_where_nothing_can_be_written_after_it(ids: tuple[int, ...], told: str, stops: tuple[str, ...]) -> None:
    """A text that goes on there would not be the one that an uncut stream writes."""
    assert await untold(decode, (0, 1), ids, told, stops) is None


async def test_an_engine_that_cannot_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails, or takes too long: the failure that is being told must not wait for it."""
    monkeypatch.setattr(cut_off, "WITHIN_S", 0.01)

    async def fails(ids: Sequence[int]) -> str:
        raise gone("policy 'small'")

    async def hangs(ids: Sequence[int]) -> str:
        await asyncio.Event().wait()
        return ""

    for bad in (fails, hangs):
        assert await untold(bad, (0, 1), (2, 3), " it", ()) is None
