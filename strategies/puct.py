"""Which node a simulation expands, and what is remembered of simulations: the arithmetic of Monte Carlo tree search.

Selection is AlphaZero's PUCT: Silver et al. 2017, "Mastering Chess and Shogi by Self-Play with a General Reinforcement
Learning Algorithm", arXiv:1712.01815, with its constant c. Simulations under way count as visits whose value is not yet
known: Liu et al. 2020, "Watch the Unobserved: A Simple Approach to Parallelizing Monte Carlo Tree Search" (WU-UCT),
arXiv:1810.11755.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, fsum, sqrt

from strategies.tree import Node


@dataclass(slots=True, eq=False)
class Edge:
    """The statistics of the step that leads to `node`; those of the root belong to the search as a whole.

    `prior` P in [0, 1] is what the policy thinks of it beside its siblings, `value` in [0, 1] its own score: that of
    the root, which has none, is 1, the greatest. `visits` simulations have been backed up through it, with values that
    sum up to `total`; `under_way` are on their way. `open` is how many nodes from here on can be expanded now: those
    that are neither whole, nor lost, nor expanded, nor about to be, and those that were reopened. `expansions` counts
    how often the node itself was expanded. `children` are in the order of their paths.
    """

    node: Node
    parent: "Edge | None" = None
    prior: float = 1.0
    value: float = 1.0
    open: int = 1
    visits: int = 0
    total: float = 0.0
    under_way: int = 0
    expansions: int = 0
    children: list["Edge"] = field(default_factory=list)

    @property
    def q(self) -> float:
        """Q, the mean of what was backed up, in [0, 1]; before the first visit, its own value."""
        return self.total / self.visits if self.visits else self.value

    @property
    def n(self) -> int:
        """Visits, those under way included."""
        return self.visits + self.under_way

    @property
    def fall(self) -> float:
        """How much less the best of its children is worth than itself, in [-1, 1]; it was expanded."""
        return self.value - max(child.value for child in self.children)

    def best_open(self, exploration: float) -> "Edge":
        """Return the child with the greatest `puct` among those that have something to expand; ties by path."""
        return max(
            (child for child in self.children if child.open),
            key=lambda child: puct(child.q, child.prior, child.n, self.n, exploration),
        )

    def enter(self) -> None:
        """A simulation begins that expands this node."""
        for edge in self._upwards():
            edge.under_way += 1
            edge.open -= 1

    def reopen(self) -> None:
        """Let this node, which was expanded before, be expanded once more."""
        for edge in self._upwards():
            edge.open += 1

    def expand(self, children: Sequence["Edge"]) -> None:
        """Take in what was sampled that is new, none of it perhaps; it can be selected from now on."""
        self.expansions += 1
        self.children.extend(children)
        opened = sum(child.open for child in children)
        for edge in self._upwards():
            edge.open += opened

    def back_up(self, value: float) -> None:
        """The simulation that expanded this node found `value`, in [0, 1]: one visit to each node up to the root."""
        for edge in self._upwards():
            edge.under_way -= 1
            edge.visits += 1
            edge.total += value

    def take_back(self) -> None:
        """The simulation that was to expand this node came to nothing: it was no visit."""
        for edge in self._upwards():
            edge.under_way -= 1

    def _upwards(self) -> Iterator["Edge"]:
        edge: Edge | None = self
        while edge is not None:
            yield edge
            edge = edge.parent


def select(root: Edge, exploration: float) -> Edge:
    """Return the node to expand: from `root`, which has something open, the best child as long as there is one open."""
    edge = root
    while any(child.open for child in edge.children):
        edge = edge.best_open(exploration)
    return edge


def puct(q: float, prior: float, n: int, parent_n: int, exploration: float) -> float:
    """Return Q + c P √N / (1 + n), with `n` and N = `parent_n` visits to a node and to its parent."""
    return q + exploration * prior * sqrt(parent_n) / (1 + n)


def priors(certainties: Sequence[float | None]) -> list[float]:
    """Return P = exp(l_i) / Σ_j exp(l_j) over siblings with mean log-probabilities l ≤ 0; they sum up to 1.

    All are equal where one is not known, since nothing can be said about it beside the others.
    """
    known = [certainty for certainty in certainties if certainty is not None]
    if len(known) < len(certainties):
        return [1 / len(certainties)] * len(certainties)
    greatest = max(known)
    weights = [exp(certainty - greatest) for certainty in known]
    total = fsum(weights)
    return [weight / total for weight in weights]
