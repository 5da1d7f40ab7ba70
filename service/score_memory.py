"""The memory of each reward model's scores, and the name that keeps those of other weights apart."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from service.redis_link import RedisLink
from service.score_store import RedisScores
from service.search.memo import ScoreMemo
from service.settings import RewardSettings, Settings

FORMAT = 1
"""Raised when a family's prompt or arithmetic changes between two releases; other scores are not known then."""

_END = 1_000_000


def score_memos(settings: Settings) -> dict[str, ScoreMemo]:
    """Return the memory of each reward model, for all searches of one worker.

    There is none where `scores.size` is 0: each search then remembers its own scores only.
    """
    kept = settings.scores
    if kept.size == 0:
        return {}
    link = RedisLink(settings.redis, "the store of scores")
    if link.state == "off" or kept.ttl_s == 0:
        return {name: ScoreMemo(kept.size) for name in settings.reward_models}
    return {
        name: ScoreMemo(kept.size, RedisScores(link, revision_of(reward), kept.ttl_s))
        for name, reward in settings.reward_models.items()
    }


def revision_of(reward: RewardSettings) -> str:
    """Return a name for everything that decides a reward model's scores, beside question and steps.

    It covers the model's names, its preset, family and `math_only`, the arguments that its server is started with,
    `revision`, Mull's version and, where the model is a folder, its files: equal on all machines that hold the same.
    The weights behind a `url` cannot be seen: there `revision` tells that they have changed.
    """
    whole = {
        "mull": [FORMAT, version("mull")],
        "model": [reward.model, reward.name],
        "preset": reward.preset,
        "family": reward.family.model_dump(mode="json"),
        "math_only": reward.math_only,
        "arguments": reward.arguments,
        "revision": reward.revision,
        "files": fingerprint(Path(reward.model)),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def fingerprint(folder: Path) -> list[tuple[str, int, str]] | None:
    """Return name, size and digest of each file in a model's folder; `None` where `folder` is none.

    Of a large file the digest covers the first and the last megabyte: training changes all of a file of weights.
    """
    if not folder.is_dir():
        return None
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return [(file.name, file.stat().st_size, _digest(file)) for file in files]


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(_END))
        content.seek(max(content.tell(), file.stat().st_size - _END))
        digest.update(content.read())
    return digest.hexdigest()
