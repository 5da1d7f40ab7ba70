"""Where packages come from: the indexes that pip is configured with, then also PyTorch's CPU index.

PyPI does not hold the CPU build of torch that vLLM's CPU build wants. A machine whose pip is told of another
place (a folder of wheels, a mirror) may have it there, so that is asked first.
"""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"


class Source(NamedTuple):
    """A set of indexes, as environment variables that pip and uv both understand."""

    name: str
    environment: dict[str, str]


def sources(python: Path) -> list[Source]:
    """Return the sources to try, in order; `python` is an interpreter that has pip."""
    configured = pip_configuration(python)
    extra = configured.get("extra-index-url", "").split()
    return [
        Source("the indexes pip is configured with", environment(configured, extra)),
        Source("these and PyTorch's CPU index", environment(configured, [*extra, PYTORCH_CPU])),
    ]


def pip_configuration(python: Path) -> dict[str, str]:
    """Return pip's options from its files and the environment, the stronger over the weaker."""
    listing = subprocess.run([str(python), "-m", "pip", "config", "list"], capture_output=True, text=True)
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in sections:
            sections[section][option] = ast.literal_eval(value)
    return sections["global"] | sections["install"] | sections[":env:"]


def environment(configured: dict[str, str], extra: list[str]) -> dict[str, str]:
    """Return the variables that give uv pip's configuration, and both of them the extra indexes.

    What the user has set for uv stays: an index is added to it, any other setting of pip's gives way.
    """
    variables = {
        "UV_DEFAULT_INDEX": configured.get("index-url", ""),
        "UV_FIND_LINKS": ",".join(configured.get("find-links", "").split()),
        "SSL_CERT_FILE": configured.get("cert", ""),
        # Every file is checked against its hash in the lock, so it may come from any index.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    variables = {name: os.environ.get(name) or value for name, value in variables.items()}
    variables["PIP_EXTRA_INDEX_URL"] = " ".join(extra)
    variables["UV_INDEX"] = " ".join([*os.environ.get("UV_INDEX", "").split(), *extra])
    return {name: value for name, value in variables.items() if value}
