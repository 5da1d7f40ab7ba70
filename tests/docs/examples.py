"""The examples in the README and the docs: fenced blocks, and the commands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "models" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = ("bash", "console")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """One fenced block, or one command of it; `line` is where it begins in the page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Example]:
    """Return the blocks in these languages, in all pages."""
    return [
        Example(page, page_text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for page in PAGES
        for page_text in [page.read_text()]
        for found in _FENCE.finditer(page_text)
        if found[1] in languages
    ]


def commands() -> list[Example]:
    """Return every shell command: what follows `$ ` in a console, and all there is in a bash block."""
    return [command for block in blocks(*SHELL) for command in _commands(block)]


def _commands(block: Example) -> Iterator[Example]:
    begun, parts = block.line, list[str]()
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not parts:
            if block.language == "console" and not line.startswith("$ "):
                continue  # what the command has printed
            begun = number
        parts.append(line.removeprefix("$ ") if not parts and block.language == "console" else line)
        text = "\n".join(parts)
        if text.endswith("\\") or _open_quote(text):
            continue
        if text.strip():
            for one in text.split(" && "):
                yield Example(block.page, begun, block.language, one)
        parts = []


def _open_quote(text: str) -> bool:
    """Whether a quoted text is still open at the end: the command goes on in the next line."""
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "", text).partition("#")[0].count("'") % 2 == 1
