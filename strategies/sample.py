"""One candidate: greedy decoding, and a single sample. The floor that every search has to beat."""

from typing import Literal

from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import in_order
from strategies.spec import ScoreSpec, Spec


class _One(Spec):
    @property
    def needs_scores(self) -> bool:
        return False

    @property
    def candidates(self) -> int:
        return 1


class Greedy(_One):
    """One candidate at temperature 0: the policy's mode, token by token."""

    name: Literal["greedy"] = "greedy"

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        return Flat(1, in_order, temperature=0.0)


class SampleOne(_One):
    """One candidate at the policy's own temperature."""

    name: Literal["sample"] = "sample"

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        return Flat(1, in_order)
