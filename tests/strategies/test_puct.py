"""Selection: the formula against literal numbers, and statistics that stay together whatever simulations do."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.protocol import Path
from strategies.puct import Edge, priors, puct, select
from strategies.tree import Node


def edge(*path: int, **statistics: float) -> Edge:
    """Return an edge without parent or children."""
    return Edge(Node(path), **statistics)  # type: ignore[arg-type]


def below(parent: Edge, *children: Edge) -> None:
    """Expand `parent` without a visit."""
    for child in children:
        child.parent = parent
    parent.enter()
    parent.expand(children)
    parent.take_back()


def all_edges(top: Edge) -> Iterator[Edge]:
    """Yield all statistics, parents first."""
    yield top
    for child in top.children:
        yield from all_edges(child)


@pytest.mark.parametrize(
    ("q", "prior", "n", "parent_n", "exploration", "expected"),
    [
        (0.5, 0.25, 0, 0, 1.0, 0.5),
        (0.5, 0.25, 0, 1, 1.0, 0.75),
        (0.5, 0.25, 0, 16, 1.0, 1.5),
        (0.5, 0.25, 3, 16, 1.0, 0.75),
        (0.5, 0.25, 3, 16, 2.0, 1.0),
        (0.5, 0.25, 3, 16, 0.0, 0.5),
        (0.0, 1.0, 4, 25, 0.1, 0.1),
    ],
)
def test_the_formula(q: float, prior: float, n: int, parent_n: int, exploration: float, expected: float) -> None:
    """Q + c P √N / (1 + n), worked out by hand."""
    assert puct(q, prior, n, parent_n, exploration) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("certainties", "expected"),
    [
        ([-1.0], [1.0]),
        ([-2.0, -2.0], [0.5, 0.5]),
        ([-0.25, -1.3486122886681098], [0.75, 0.25]),  # they differ by log 3
        ([-0.5, None, -3.0, -1.0], [0.25, 0.25, 0.25, 0.25]),
        ([-1e6, -1e6], [0.5, 0.5]),
        ([-1e6, 0.0], [0.0, 1.0]),
    ],
)
def test_priors(certainties: list[float | None], expected: list[float]) -> None:
    """The softmax; equal shares where the policy's opinion of one is not known; no underflow for what is improbable."""
    assert priors(certainties) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=1, max_size=64))
def test_priors_are_a_distribution_in_the_order_of_certainty(certainties: list[float]) -> None:
    """They sum up to 1, and who is surer has no less."""
    shares = priors(certainties)
    assert sum(shares) == pytest.approx(1)
    in_order = [share for _, share in sorted(zip(certainties, shares, strict=True))]
    assert in_order == sorted(in_order)


def test_before_its_first_visit_a_node_is_worth_its_own_value() -> None:
    """Also while that visit is under way; afterwards its value is the mean of what was backed up."""
    node = edge(0, value=0.75)
    assert node.q == 0.75
    node.enter()
    assert (node.q, node.n) == (0.75, 1)
    node.back_up(0.25)
    node.enter()
    node.back_up(0.75)
    assert (node.q, node.n, node.visits) == (0.5, 2, 2)


def test_a_simulation_under_way_counts_as_a_visit() -> None:
    """A better node that is visited already is passed over for one that nobody looks at (WU-UCT)."""
    top, good, fair = edge(), edge(0, prior=0.5, value=0.625), edge(1, prior=0.5, value=0.5)
    below(top, good, fair)
    below(good, edge(0, 0), edge(0, 1))
    # N = 0: nothing is known but the values.
    assert top.best_open(1.0) is good
    good.children[0].enter()
    # N = 1: 0.625 + 0.5 · 1 / 2 = 0.875 against 0.5 + 0.5 · 1 / 1 = 1.
    assert top.best_open(1.0) is fair
    good.children[0].take_back()
    assert top.best_open(1.0) is good


def test_ties_go_to_the_first_path() -> None:
    """As everywhere."""
    top = edge()
    below(top, *(edge(i, prior=0.25, value=0.5) for i in range(4)))
    assert select(top, 1.0) is top.children[0]


def test_selection_goes_down_to_what_can_be_expanded() -> None:
    """The best child at each level, but for those below which nothing is left to expand."""
    top, whole, closed, live = edge(), edge(0, value=1.0, open=0), edge(1, value=0.9), edge(2, value=0.1)
    below(top, whole, closed, live)
    below(closed, edge(1, 0, open=0), edge(1, 1, open=0))
    below(live, edge(2, 0, value=0.2), edge(2, 1, value=0.4))
    assert [closed.open, live.open, top.open] == [0, 2, 2]
    assert select(top, 1.0).node.path == (2, 1)


def test_a_node_that_is_being_expanded_is_not_selected_again() -> None:
    """Nor is its parent, once all of its children are being expanded."""
    top = edge()
    below(top, edge(0, value=0.9), edge(1, value=0.1))
    for expected in ((0,), (1,)):
        chosen = select(top, 0.0)
        assert chosen.node.path == expected
        chosen.enter()
    assert (top.open, top.under_way) == (0, 2)


def test_a_reopened_node_is_selected_although_it_has_children() -> None:
    """None of which can be expanded; it takes one simulation."""
    top, node = edge(), edge(0)
    below(top, node)
    below(node, edge(0, 0, open=0))
    assert top.open == 0
    node.reopen()
    assert (top.open, select(top, 1.0)) == (1, node)
    node.enter()
    assert (top.open, node.open, top.under_way) == (0, 0, 1)


def test_what_a_reopened_node_finds_can_be_selected() -> None:
    """A new child is one like the others; where all that was found is known, nothing is opened."""
    top = edge()
    below(top, edge(0, open=0))
    top.reopen()
    below(top)
    assert (top.open, top.expansions) == (0, 2)
    top.reopen()
    below(top, edge(1))
    assert (top.open, top.expansions, select(top, 1.0).node.path) == (1, 3, (1,))


@pytest.mark.parametrize(
    ("value", "children", "expected"), [(0.75, [0.25, 0.5], 0.25), (0.5, [0.5], 0.0), (0.5, [0.25, 0.75], -0.25)]
)
def test_the_fall_is_to_the_best_child(value: float, children: list[float], expected: float) -> None:
    """By hand; below 0 where a child is worth more."""
    top = edge(0, value=value)
    below(top, *(edge(0, index, value=worth) for index, worth in enumerate(children)))
    assert top.fall == expected


def test_the_question_is_worth_all_there_is() -> None:
    """No score is greater, hence its value never rises."""
    top = edge()
    below(top, edge(0, value=0.75))
    assert top.fall == 0.25


@settings(deadline=None)
@given(st.data())
def test_counts_and_sums_stay_together(data: st.DataObject) -> None:
    """After any simulations: in flight, backed up or taken back, each node's numbers are those of its subtree."""
    top = edge()
    flying: list[Edge] = []
    shut: set[Path] = set()
    backed: list[tuple[Path, float]] = []
    for _ in range(data.draw(st.integers(0, 30))):
        idle = [node for node in all_edges(top) if node.children and node.node.path in shut and node not in flying]
        if idle and data.draw(st.booleans()):
            again = data.draw(st.sampled_from(idle))
            again.reopen()
            shut.remove(again.node.path)
        elif top.open and (not flying or data.draw(st.booleans())):
            flying.append(select(top, 1.0))
            assert flying[-1].node.path not in shut, "it was selected, and cannot be expanded"
            flying[-1].enter()
            shut.add(flying[-1].node.path)
        elif flying:
            done = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            opens = data.draw(st.lists(st.booleans(), max_size=3))
            path, known = done.node.path, len(done.children)
            new = [Edge(Node((*path, known + i)), done, 0.5, 0.5, int(is_open)) for i, is_open in enumerate(opens)]
            shut.update(child.node.path for child in new if not child.open)
            done.expand(new)
            if opens:
                backed.append((path, value := data.draw(st.floats(0, 1))))
                done.back_up(value)
            else:
                done.take_back()
    for node in all_edges(top):
        path = node.node.path
        values = [value for place, value in backed if place[: len(path)] == path]
        assert node.visits == len(values)
        assert node.total == pytest.approx(sum(values))
        assert node.under_way == sum(flight.node.path[: len(path)] == path for flight in flying)
        assert node.open == (path not in shut) + sum(child.open for child in node.children)
