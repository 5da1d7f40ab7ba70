"""How a card's memory is shared by a profile's engines: `python -m deploy.sizing` prints it for every profile and card.

Weights and keys and values are arithmetic on the published sizes. What else an engine takes is an allowance, which was
not measured here: see `ALLOWANCE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.shapes import SHAPES, Shape
from service.settings import Engine, Settings
from service.settings_file import load_settings

PROFILES = Path(__file__).resolve().parent / "profiles"
GIB = 2**30
MIB = 2**20

CARDS = {24: 23_028, 48: 46_068, 80: 81_559, 141: 143_771}
"""The MiB that nvidia-smi gives for cards sold as so many GB: A10 (the smallest of 24), L40S, H100, H200."""
LEFT_ALONE = 0.05
"""The share of a card that stays free: other programs, fragments."""
ALLOWANCE = 3 * GIB
"""What an engine takes beside weights and cache: CUDA itself, its graphs, activations and logits of a full batch."""
UNIT = 256 * MIB
"""Cache sizes are rounded down to it."""
REWARD_SHARE = 0.25
"""The most of what is left for caches that a reward model's gets: it reads more than it keeps."""
REWARD_PROMPTS, POLICY_PROMPTS = 64, 256
"""No cache is larger than so many prompts of full length: what the engines are asked at once."""
FEWEST_PROMPTS = 4
"""With room for fewer policy prompts of full length than these, a profile does not fit a card."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one engine gets, in bytes; `prompts` of full length fit into its cache."""

    weights: int
    cache: int
    prompts: float

    @property
    def total(self) -> int:
        """All that the engine takes."""
        return self.weights + self.cache + ALLOWANCE


def engines(settings: Settings) -> dict[str, Engine]:
    """Return a profile's engines by what they are: `policy`, and `reward` where there is one."""
    found: dict[str, Engine] = {"policy": settings.policies["policy"]}
    return found | ({"reward": settings.reward_models["reward"]} if settings.reward_models else {})


def shares(settings: Settings, card: int) -> dict[str, Share] | None:
    """Return how the engines share a card sold as `card` GB; `None` where they do not fit."""
    shapes = {role: SHAPES[known_as(engine)] for role, engine in engines(settings).items()}
    contexts = {role: int(flag(engine, "--max-model-len")) for role, engine in engines(settings).items()}
    left = int(CARDS[card] * MIB * (1 - LEFT_ALONE))
    left -= sum(shape.weight_bytes + ALLOWANCE for shape in shapes.values())
    caches: dict[str, int] = {}
    if "reward" in shapes:
        whole = REWARD_PROMPTS * contexts["reward"] * shapes["reward"].bytes_per_token
        caches["reward"] = _rounded(min(left * REWARD_SHARE, whole))
    whole = POLICY_PROMPTS * contexts["policy"] * shapes["policy"].bytes_per_token
    caches["policy"] = _rounded(min(left - caches.get("reward", 0), whole))
    found = {role: _share(shape, caches[role], contexts[role]) for role, shape in shapes.items()}
    fits = found["policy"].prompts >= FEWEST_PROMPTS and all(share.prompts >= 1 for share in found.values())
    return found if fits else None


def known_as(engine: Engine) -> str:
    """Return the name by which `SHAPES` has an engine's model."""
    return engine.model if engine.model in SHAPES else Path(engine.model).name


def flag(engine: Engine, name: str) -> str:
    """Return the value of one of vLLM's arguments, the last where it is given more than once. Raises `ValueError`."""
    arguments = engine.arguments
    last = len(arguments) - 1 - arguments[::-1].index(name)
    return arguments[last + 1]


def profiles() -> Mapping[str, Path]:
    """Return the profiles of real models, by name."""
    return {path.stem: path for path in sorted(PROFILES.glob("*.yaml")) if path.stem != "tiny"}


def table() -> str:
    """Return the table of docs/operations.md: cache bytes for each profile and card, and how many prompts that is."""
    lines = ["| profile | weights, GiB | " + " | ".join(f"{card} GB" for card in CARDS) + " |"]
    lines.append("|---" * (len(CARDS) + 2) + "|")
    for name, path in profiles().items():
        settings = load_settings(path, environ={})
        weights = " + ".join(f"{SHAPES[known_as(e)].weight_bytes / GIB:.1f}" for e in engines(settings).values())
        lines.append(f"| `{name}` | {weights} | " + " | ".join(_cell(shares(settings, card)) for card in CARDS) + " |")
    return "\n".join(lines)


def _cell(found: Mapping[str, Share] | None) -> str:
    if found is None:
        return "does not fit"
    return "<br>".join(f"{role} {share.cache} ({share.prompts:.0f})" for role, share in found.items())


def _rounded(size: float) -> int:
    return max(0, int(size)) // UNIT * UNIT


def _share(shape: Shape, cache: int, context: int) -> Share:
    return Share(shape.weight_bytes, cache, cache / (context * shape.bytes_per_token))


if __name__ == "__main__":
    print(table())
