"""What makes a model's outputs its own: the name under which they may be kept, and found again.

Equal on all machines that hold the same model. The weights behind a `url` cannot be seen: there the setting `revision`
tells that they have changed.
"""

import hashlib
import json
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from service.settings import Engine, RewardSettings, Settings

FORMAT = 2
"""Raised when a prompt or the arithmetic of scores changes between two releases: what was kept is not known then."""

_END = 1_000_000
_FILES = 1000


def policy_revision(settings: Settings, model: str) -> str:
    """Return a name for everything configured that decides what the policy of a public model writes.

    It covers the policy's names, the arguments that its server is started with, prompt form (of a template file the
    text), step form, sampling defaults, `revision`, Mull's version and, where the model is a folder, its files. 32
    hexadecimal digits. Files are read when they are first seen and when they have changed: ask once per process and
    model rather than once per request. Raises `OSError` where a file cannot be read.
    """
    policy = settings.policies[settings.models[model].policy]
    template = policy.prompt.template_file
    return _name(
        policy,
        {
            "system": policy.prompt.system,
            "template": None if template is None else hashlib.sha256(template.read_bytes()).hexdigest(),
            "steps": policy.steps.model_dump(mode="json"),
            "sampling": policy.sampling.model_dump(mode="json"),
        },
    )


def reward_revision(reward: RewardSettings) -> str:
    """Return a name for everything that decides a reward model's scores, beside question and steps.

    It covers the model's names, its preset, family and `math_only`, the arguments that its server is started with,
    `revision`, Mull's version and, where the model is a folder, its files. Otherwise like `policy_revision`.
    """
    family = reward.family.model_dump(mode="json")
    return _name(reward, {"preset": reward.preset, "family": family, "math_only": reward.math_only})


def fingerprint(folder: Path) -> list[tuple[str, int, str]] | None:
    """Return name, size and digest of each file in a model's folder; `None` where `folder` is none.

    Of a large file the digest covers the first and the last megabyte: training changes all of a file of weights.
    """
    if not folder.is_dir():
        return None
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    stats = [file.stat() for file in files]
    return [
        (file.name, stat.st_size, _digest(file, stat.st_size, stat.st_mtime_ns))
        for file, stat in zip(files, stats, strict=True)
    ]


def _name(engine: Engine, more: dict[str, Any]) -> str:
    whole = {
        **more,
        "mull": [FORMAT, version("mull")],
        "model": [engine.model, engine.name],
        "arguments": engine.arguments,
        "revision": engine.revision,
        "files": fingerprint(Path(engine.model)),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


@lru_cache(_FILES)
def _digest(file: Path, size: int, _changed_ns: int) -> str:
    """Return the digest of a file as it was then: it is read once."""
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(_END))
        content.seek(max(content.tell(), size - _END))
        digest.update(content.read())
    return digest.hexdigest()
