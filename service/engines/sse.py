"""Server-sent events as vLLM writes them: one `data: …` line each."""


class DataLines:
    r"""Cuts the bytes of a stream into the payloads of its data lines.

    Lines end at `\n` alone: text may hold characters (U+2028, form feed) at which `str.splitlines` would break it.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> list[bytes]:
        """Return the payloads that `part` completes."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]
