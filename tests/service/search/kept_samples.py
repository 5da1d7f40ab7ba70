"""A pool in memory, and a policy that never writes the same twice."""

import random
import re
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from service.search.pooling import Kept
from service.search.scripted import ScriptedPolicy

_kept: TypeAdapter[Kept] = TypeAdapter(Kept)


def drawn(rng: random.Random) -> str:
    """Return a solution of 1 to 25 tokens, with an answer of 0 to 2."""
    words = (f"w{rng.randrange(1000)}" + rng.choice([" ", "\n\n"]) for _ in range(rng.randrange(13)))
    return "".join(words) + f"\\boxed{{{rng.randrange(3)}}}"


class MemoryPool:
    """Implements `pooling.CandidatePool`, in the form in which samples are written down."""

    def __init__(self) -> None:
        self.values: dict[int, bytes] = {}

    async def open(self, samples: int) -> None:
        """Nothing has to be fetched."""

    def get(self, index: int) -> Kept | None:
        value = self.values.get(index)
        return None if value is None else _kept.validate_json(value)

    def put(self, index: int, sample: Kept) -> None:
        held = self.get(index)
        if held is None or _place(held) < _place(sample):
            self.values[index] = _kept.dump_json(sample)

    def texts(self) -> dict[int, tuple[str, bool]]:
        """What is written at each index, and whether to its end."""
        samples = {index: self.get(index) for index in self.values}
        return {
            i: ("".join(r.text for r in kept.requests), kept.end is not None) for i, kept in samples.items() if kept
        }


def _place(sample: Kept) -> tuple[bool, int]:
    return sample.end is not None, sample.tokens


@dataclass
class Restless(ScriptedPolicy):
    """Draws what it writes anew for each request, whatever its seed: what is not kept cannot be had again."""

    solutions: tuple[str, ...] = ()
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def _words(self, prompt: tuple[int, ...], seed: int) -> list[str]:
        return re.findall(r"\s+|\S+", drawn(self.rng))
