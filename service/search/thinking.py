"""Sets the thinking part of a reasoning model apart from its solution, as the text arrives."""

from typing import Literal

OPEN = "<think>"
CLOSE = "</think>"


class ThinkingPart:
    """Finds `<think>…</think>` at the beginning of a text that comes in pieces of any size.

    The thinking part reaches up to and including the first `</think>`; whitespace before `<think>` belongs to it. With
    `opened`, the chat template has written `<think>` and the text begins inside. Where `</think>` never comes, all is
    thinking. Source: DeepSeek-R1 (arXiv:2501.12948) and Qwen3 (arXiv:2505.09388), as vLLM's reasoning parsers read
    them; unlike there, a `</think>` that nothing has opened is text, since what precedes it has been told as steps.
    """

    def __init__(self, *, opened: bool) -> None:
        self._state: Literal["undecided", "inside", "over"] = "inside" if opened else "undecided"
        self._pieces: list[str] = []
        self._tail = ""

    def feed(self, text: str) -> str:
        """Take the next piece and return what is known to come after the thinking part."""
        if self._state == "over":
            return text
        window, self._tail = self._tail + text, ""
        if self._state == "undecided":
            return self._begin(window)
        return self._search(window)

    @property
    def text(self) -> str:
        """The thinking part so far; empty as long as it is not known that there is one."""
        return "" if self._state == "undecided" else "".join(self._pieces) + self._tail

    @property
    def undecided(self) -> str:
        """What may yet turn out to be the beginning of a thinking part; if the text ends here, it is none."""
        return "".join(self._pieces) + self._tail if self._state == "undecided" else ""

    def _begin(self, window: str) -> str:
        body = window.lstrip()
        self._pieces.append(window[: len(window) - len(body)])
        if body.startswith(OPEN):
            self._state = "inside"
            return self._search(body)
        if OPEN.startswith(body):
            self._tail = body
            return ""
        solution = "".join(self._pieces) + body
        self._state = "over"
        self._pieces.clear()
        return solution

    def _search(self, window: str) -> str:
        found = window.find(CLOSE)
        if found < 0:
            kept = max(len(window) - len(CLOSE) + 1, 0)
            self._pieces.append(window[:kept])
            self._tail = window[kept:]
            return ""
        end = found + len(CLOSE)
        self._state = "over"
        self._pieces.append(window[:end])
        return window[end:]
