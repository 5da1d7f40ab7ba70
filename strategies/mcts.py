"""Monte Carlo tree search guided by a process reward model: simulations go where scores and the policy point.

A simulation goes down from the question, at each expanded node to the child with the greatest

    Q + c P √N / (1 + n)

(PUCT: Silver et al. 2017, AlphaZero, arXiv:1712.01815), until it comes to a node that has no children yet. There it
samples k next steps, has them scored, and backs up the mean of their values to all nodes from there to the question. P
is the softmax of siblings' mean log-probabilities, Q the mean of what was backed up; the reward model enters through Q:
that of a child without visits is its own value. Reward models in such a search: Zhang et al. 2024 (ReST-MCTS*,
arXiv:2406.03816), Luo et al. 2024 (OmegaPRM, arXiv:2406.06592). Simulations under way count as visits in n and N
(WU-UCT: Liu et al. 2020, arXiv:1810.11755).

Where nothing is left to expand, a node that was expanded before is reopened, the one below which values fall the most:
k more steps are sampled there. Those that repeat a child add to its multiplicity, those that are new become children
beside it. So all simulations are done, unless the budget ends before.

c is 0.125 by default, as in OmegaPRM: siblings' values differ by tenths, and a few dozen simulations must reach the
ends of solutions. At N = 32 a child without visits, one of four equally likely ones, then gains 0.125 · √32 / 4 = 0.18.
With c = 1 it would gain 1.4, more than any score can, and the search would go on in breadth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, fsum
from typing import ClassVar, Literal

from pydantic import Field

from strategies.cost import Cost, Lengths
from strategies.protocol import Path
from strategies.puct import Edge, priors, select
from strategies.spec import ScoreSpec, TreeSpec
from strategies.tree import Node, TreeSearch, merge


class Mcts(TreeSpec):
    """S times: find the most promising node, sample k steps there, and tell its ancestors their mean value."""

    paper: ClassVar[str | None] = "Silver et al. 2017, arXiv:1712.01815; Liu et al. 2020, arXiv:1810.11755"
    prior: ClassVar[bool] = True
    name: Literal["mcts"] = "mcts"
    simulations: int = Field(32, ge=1, le=4096, description="Number of simulations, S: each expands one node.")
    expansions: int = Field(4, ge=1, le=64, description="Steps that are sampled where a node is expanded, k.")
    exploration: float = Field(
        0.125,
        ge=0,
        le=100,
        description="c: how much few visits and the policy's own preference count beside Q, which is in [0, 1].",
    )
    parallel: int = Field(
        4,
        ge=1,
        le=256,
        description="Simulations in flight. The more, the faster, and the less each knows: S / parallel should exceed "
        "the number of steps of a solution. With more than 1 the tree depends on what comes back first.",
    )
    evaluation: Literal["prm", "rollout"] = Field(
        "prm",
        description="What is backed up. prm: the mean value of the new steps; rollout: the value of one solution that "
        "is written to its end from the best of them.",
    )

    @property
    def candidates(self) -> int:
        """S: the k steps of a simulation are about as many as a solution has."""
        return self.simulations

    def cost(self, lengths: Lengths) -> Cost:
        """Return S k steps, each scored behind half of a candidate; a rollout writes the other half.

        Half is assumed, the mean over a tree that is searched evenly at all depths.
        """
        steps = self.simulations * self.expansions
        policy, reward = steps * lengths.step, steps * (lengths.prompt + ceil(lengths.candidate / 2))
        if self.evaluation == "rollout":
            depths = range(lengths.steps // 2 + 1, lengths.steps + 1)
            policy += self.simulations * ceil(lengths.candidate / 2)
            reward += self.simulations * sum(lengths.prompt + depth * lengths.step for depth in depths)
        return Cost(policy, reward)

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> "MctsSearch":
        """Return the state machine; it draws no random numbers, and never stops early."""
        return MctsSearch(self, score)


@dataclass(slots=True, eq=False)
class Simulation:
    """One simulation under way: `samples` are the steps it tries below `edge`, `pending` of which are not settled.

    Afterwards it may wait for its `rollout`.
    """

    edge: Edge
    samples: Sequence[Node]
    pending: int
    rollout: Node | None = None


class MctsSearch(TreeSearch):
    """The tree with the statistics of its simulations, from `top` down.

    A simulation decides when all it waits for is settled, and nodes are numbered as they are asked for. So with one
    simulation at a time the order of arrival changes nothing.
    """

    def __init__(self, spec: Mcts, score: ScoreSpec) -> None:
        super().__init__(score)
        self.top = Edge(self.root)
        self._spec = spec
        self._left = spec.simulations
        self._waiting: dict[Path, Simulation] = {}
        self._reopenable: list[Edge] = []
        """What was expanded, and has no simulation of its own under way."""

    def _start(self) -> None:
        self._launch()

    def _known(self, node: Node) -> None:
        simulation = self._waiting.pop(node.path, None)
        if simulation is None:
            # What the search ends with, where no solution was whole, belongs to no simulation.
            return
        simulation.pending -= 1
        if simulation.pending == 0:
            if simulation.rollout is None:
                self._expanded(simulation)
            else:
                self._evaluated(simulation, node.value(self._how))
            self._launch()

    def _launch(self) -> None:
        """Begin as many simulations as may be in flight, while there are nodes to expand and budget for it."""
        while self._left and not self._cut and self.top.under_way < self._spec.parallel:
            if not self.top.open and not self._reopen():
                return
            self._left -= 1
            edge = select(self.top, self._spec.exploration)
            edge.enter()
            samples = [self._sample(edge.node) for _ in range(self._spec.expansions)]
            simulation = Simulation(edge, samples, len(samples))
            self._waiting.update((node.path, simulation) for node in samples)

    def _reopen(self) -> bool:
        """Nothing is left to expand: let the node be expanded again below which values fall the most, if there is one.

        A fall counts less with each expansion. What the policy has not written yet is most worth looking for where all
        that it has written is worse than what came before.
        """
        if not self._reopenable:
            return False
        edge = min(
            self._reopenable,
            key=lambda edge: (-max(edge.fall, 0.0) / edge.expansions, edge.expansions, edge.node.path),
        )
        self._reopenable.remove(edge)
        edge.reopen()
        return True

    def _expanded(self, simulation: Simulation) -> None:
        """All samples are settled: those of their steps that are new become children, and all are valued."""
        values = {node: value for node in simulation.samples if (value := node.value(self._how)) is not None}
        if not values:
            # Nothing was opened, and it cannot be reopened: this node is not selected again.
            simulation.edge.take_back()
            return
        edge = simulation.edge
        known = [child.node for child in edge.children]
        distinct = merge([*known, *values])
        edge.expand([Edge(node, edge, value=values[node], open=node.ended is None) for node in distinct[len(known) :]])
        for child, prior in zip(edge.children, priors([node.certainty for node in distinct]), strict=True):
            child.prior = prior
        # Where each sample is in the tree: at itself, or at what it repeats.
        tried = {node.twin or node: value for node, value in values.items()}
        unfinished = [node for node in tried if node.ended is None]
        if self._spec.evaluation == "rollout" and unfinished:
            best = min(unfinished, key=lambda node: (-tried[node], node.path))
            simulation.rollout = self._sample(best, max_steps=None)
            simulation.pending = 1
            self._waiting[simulation.rollout.path] = simulation
        else:
            self._evaluated(simulation, fsum(values.values()) / len(values))

    def _evaluated(self, simulation: Simulation, value: float | None) -> None:
        if value is None:
            # A rollout came to nothing. The steps it was to judge stay in the tree.
            simulation.edge.take_back()
        else:
            simulation.edge.back_up(value)
        self._reopenable.append(simulation.edge)
