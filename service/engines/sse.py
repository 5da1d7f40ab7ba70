"""Server-sent events as vLLM writes them: one `data: …` line each."""

from collections.abc import AsyncIterator


async def data_lines(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    r"""Yield the payload of each data line.

    Lines end at `\n` alone: text may hold characters (U+2028, form feed) at which `str.splitlines`, and with it
    httpx's own line reader, would break it apart.
    """
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
