"""Particle filtering: partial solutions are particles, weighted by the reward model and resampled by weight.

Puri et al. 2025, "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based Monte Carlo
Methods", arXiv:2502.01618.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from random import Random
from typing import ClassVar, Literal

from pydantic import Field

from strategies.protocol import Strategy
from strategies.resampling import effective_sample_size, systematic
from strategies.spec import ScoreSpec, TreeSpec
from strategies.tree import Node, TreeSearch, merge


class ParticleFilter(TreeSpec):
    """Samples of p(x_1:T | all steps accepted) ∝ Π_t p(x_t | x_<t)·r(x_t), the score r of a step being its likelihood.

    Level by level, each particle is moved by one step of the policy, w_t = w_{t-1}·r(x_t) (section 4.2 of the paper's
    third version); several new steps multiply, none leaves the weight as it is. What is resampled weighs 1 again. A
    whole solution is absorbing: its particle is never moved, keeps its weight and takes part in resampling, where it
    may be copied or vanish. A particle whose step or score the budget refused is gone.

    The paper resamples at every step and draws each particle anew, from a softmax of the rewards (algorithm 1), its
    public code from a softmax of the last reward's log odds. Here the weights themselves are the distribution, as the
    update rule has it; they are carried on until the effective sample size falls below a fraction of the particles
    (Del Moral, Doucet and Jasra 2012, "On Adaptive Resampling Strategies for Sequential Monte Carlo Methods"), and one
    random number places all particles (systematic resampling). Each particle at a whole solution is one sample of it
    in the vote, and the solution's score counts as everywhere else.
    """

    paper: ClassVar[str | None] = "Puri et al. 2025, arXiv:2502.01618"
    name: Literal["particle_filter"] = "particle_filter"
    particles: int = Field(16, ge=1, le=1024, description="Number of particles, N.")
    ess_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Resample when the effective sample size is below this fraction of the particles: 0 never, 1 at "
        "every level with unequal weights.",
    )

    @property
    def candidates(self) -> int:
        """N."""
        return self.particles

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine; level t is resampled with a random number that is a function of `seed` and t."""
        return ParticleSearch(score, particles=self.particles, ess_threshold=self.ess_threshold, seed=seed)


@dataclass(slots=True)
class Particle:
    """A partial solution, or a whole one. Its weight is relative to the heaviest one's, in [0, 1]."""

    node: Node
    weight: float = 1.0

    @property
    def moves(self) -> bool:
        """Whether its solution goes on."""
        return self.node.ended is None


class ParticleSearch(TreeSearch):
    """Moves all particles by one step, then weighs them, and resamples them where their weights have become unequal."""

    def __init__(self, score: ScoreSpec, *, particles: int, ess_threshold: float, seed: int) -> None:
        super().__init__(score)
        self._threshold = ess_threshold
        self._seed = seed
        self._level = 0
        self._moved: list[Particle] = []
        self.particles = [Particle(self.root) for _ in range(particles)]

    def _start(self) -> None:
        self._move()

    def _idle(self) -> None:
        self._level += 1
        self._weigh()
        # Once all are whole, resampling would only add noise to the vote.
        if any(particle.moves for particle in self.particles):
            self._resample()
        self._count()
        self._move()

    def _finished(self) -> Sequence[Node]:
        """Return the whole solutions at which there are particles."""
        return list({particle.node.path: particle.node for particle in self.particles if not particle.moves}.values())

    def _move(self) -> None:
        self._moved = [particle for particle in self.particles if particle.moves]
        for particle in self._moved:
            particle.node = self._sample(particle.node)

    def _weigh(self) -> None:
        self.particles = [p for p in self.particles if not p.node.lost and not p.node.unscored]
        self._moved = [p for p in self._moved if not p.node.lost and not p.node.unscored]
        merge(particle.node for particle in self._moved)
        for particle in self._moved:
            particle.weight *= prod(score for score in particle.node.scores if score is not None)
            particle.node = particle.node.twin or particle.node
        heaviest = max((particle.weight for particle in self.particles), default=0.0)
        for particle in self.particles:
            # Scores of exactly 0 throughout say nothing of which particle is the better one: all are equal again.
            # Otherwise only ratios matter, and relative to the heaviest the products do not underflow.
            particle.weight = particle.weight / heaviest if heaviest > 0 else 1.0

    def _resample(self) -> None:
        weights = [particle.weight for particle in self.particles]
        if effective_sample_size(weights) < self._threshold * len(weights):
            counts = systematic(weights, Random(f"{self._seed}:{self._level}").random())
            kept = zip(self.particles, counts, strict=True)
            self.particles = [Particle(particle.node) for particle, count in kept for _ in range(count)]

    def _count(self) -> None:
        """Let each node stand for the particles at it: where there is none, nothing grows any more."""
        for particle in self._moved:
            particle.node.multiplicity = 1 if particle.node.ended is not None else 0
        for path, count in Counter(particle.node.path for particle in self.particles).items():
            self._nodes[path].multiplicity = count
