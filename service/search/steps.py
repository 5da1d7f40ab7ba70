"""Cutting a stream of text into steps at a separator, as the text arrives."""


class StepSplitter:
    """Finds step boundaries in text that comes in pieces of any size.

    A step is text up to and including the separator that ends it; whitespace that follows leads the next step, so that
    steps joined are the text again (but for whitespace after the last one). Whitespace alone is never a step.
    """

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._pending = ""

    def feed(self, text: str) -> list[str]:
        """Take the next piece and return the steps that it completes, oldest first."""
        self._pending += text
        steps = []
        while (cut := self._boundary()) is not None:
            steps.append(self._pending[:cut])
            self._pending = self._pending[cut:]
        return steps

    def rest(self) -> str:
        """Return the last step, which nothing but the stream's end closes; empty if there is none."""
        last, self._pending = self._pending, ""
        return last if last.strip() else ""

    def _boundary(self) -> int | None:
        lead = len(self._pending) - len(self._pending.lstrip())
        found = self._pending.find(self._separator, lead)
        return None if found < 0 else found + len(self._separator)
