"""An MCTS that is watched, and its trees in the form of tables."""

from collections.abc import Iterator

from golden import place, rendered
from tree_world import Played

from strategies.mcts import Mcts, MctsSearch
from strategies.protocol import Action, Event, Path, Refused, Sample
from strategies.puct import Edge
from strategies.selection import StepAggregate
from strategies.spec import ScoreSpec
from strategies.tree import Node


class Watched(MctsSearch):
    """Looks after each event at how many simulations are in flight, and at what begins after a sample was refused."""

    def __init__(self, spec: Mcts, score: ScoreSpec) -> None:
        super().__init__(spec, score)
        self.most_in_flight = 0
        self.refused = False
        self.late: list[Action] = []

    def on(self, event: Event) -> list[Action]:
        """Go on as ever."""
        actions = list(super().on(event))
        self.refused |= isinstance(event, Refused) and event.wanted == "sample"
        if self.refused:
            self.late += [action for action in actions if isinstance(action, Sample) and action.max_steps is not None]
        self.most_in_flight = max(self.most_in_flight, self.top.under_way)
        return actions


def all_edges(top: Edge) -> Iterator[Edge]:
    """Yield all statistics, parents first."""
    yield top
    for child in top.children:
        yield from all_edges(child)


def visited(search: MctsSearch, how: StepAggregate = "min") -> str:
    """Return the tree with n, Q and P; what cannot be selected has neither."""
    edges = {edge.node.path: edge for edge in all_edges(search.top)}

    def visits(node: Node) -> object:
        return edges[node.path].visits if node.path in edges else None

    def mean(node: Node) -> object:
        return edges[node.path].q if node.path in edges else None

    def prior(node: Node) -> object:
        return edges[node.path].prior if node.path in edges else None

    return rendered(search, how, {"n": visits, "Q": mean, "P": prior})


def rollouts(played: Played) -> set[Path]:
    """Return the places of streams that were let run to their own end."""
    return {action.node for action in played.actions if isinstance(action, Sample) and action.max_steps is None}


def expanded(played: Played, expansions: int) -> list[str]:
    """Return which node each simulation expanded by so many samples, in order, as the tables name them."""
    grown = rollouts(played)
    return [place(path[:-1]) for path in played.samples if path not in grown][::expansions]


def weights(search: MctsSearch) -> dict[str, float]:
    """Return the votes by answer."""
    return {vote.answer.text: round(vote.weight, 6) for vote in search.votes()}
