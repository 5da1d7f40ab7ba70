"""A Dockerfile as a list of instructions, variables filled in: as much of the language as ours uses, and no more."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PAIR = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S+)')


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: `options` are its `--name=value`s, `text` is the rest, continued lines joined."""

    name: str
    text: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form as of the plain one."""
        return list(json.loads(self.text)) if self.text.startswith("[") else self.text.split()

    def pairs(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The `name=value`s of ENV, LABEL and ARG, with variables filled in."""
        return {name: filled(value.strip('"'), variables) for name, value in _PAIR.findall(self.text)}


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Put variables in the place of `$name` and `${name}`; raises `KeyError` for one that is not set."""
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], text)


def steps(path: Path) -> Iterator[Step]:
    """Yield a Dockerfile's instructions in order. Raises `ValueError` for one that is not known here."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        options, words = {}, rest.split()
        while name != "HEALTHCHECK" and words[0].startswith("--"):
            option, _, value = words.pop(0).removeprefix("--").partition("=")
            options[option] = value
            rest = rest.split(None, 1)[1]
        if name == "HEALTHCHECK":
            rest = rest.partition(" CMD ")[2].strip()
        elif name not in _KNOWN:
            raise ValueError(f"{path}: {name} is not known here")
        yield Step(name, rest, options)


_KNOWN = ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR")


def ignored(path: str, dockerignore: str) -> bool:
    """Tell whether .dockerignore keeps a path, relative and with slashes, out of the build; the last match decides."""
    out = False
    for line in dockerignore.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and _matches(path, pattern.removeprefix("!")):
            out = not pattern.startswith("!")
    return out


def _matches(path: str, pattern: str) -> bool:
    parts = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.match(rf"{parts}(?:/|$)", path) is not None
