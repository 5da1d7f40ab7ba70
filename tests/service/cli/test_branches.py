from collections.abc import Iterable
from itertools import chain

from service.cli.branches import Branch, branches, is_tree, way_to
from service.search.request import CandidateResult
from service.search.trace import Record, Wished
from strategies.protocol import Path, Sample
from tests.service.cli.tree_trace import node


def read(*nodes: Iterable[Record]) -> Branch:
    """The tree of a trace."""
    return branches(list(chain(*nodes)))


def best(text: str, *scores: float) -> CandidateResult:
    """A chosen candidate."""
    return CandidateResult(
        text=text,
        answer=None,
        key=None,
        scores=scores,
        score=None,
        finished=False,
        finish_reason=None,
        tokens=1,
        multiplicity=1,
    )


def paths(root: Branch) -> list[Path]:
    """All places, parents first."""
    return [branch.path for branch in root.walk()]


def test_siblings_are_in_the_order_of_their_places() -> None:
    """Whatever the order of their records; ten comes after nine."""
    root = read(*(node(str(place), f"step {place}") for place in (10, 9, 2)), node("2.1", "c"), node("2.0", "b"))
    assert paths(root) == [(), (2,), (2, 0), (2, 1), (9,), (10,)]


def test_the_way_leads_to_a_finished_solution() -> None:
    """Told by its text and its scores: another with the same text from another place has others."""
    root = read(
        node("0", "A\n", scores=(0.5,)),
        node("1", "A \n", scores=(0.6,), answer="x"),
        node("0.0", "B", scores=(0.4,), answer="1", before="A\n"),
        node("0.1", "C", scores=(0.4,), answer="2", before="A\n"),
    )
    assert way_to(root, best("A\nC", 0.5, 0.4)) == {(), (0,), (0, 1)}
    assert way_to(root, best("A\nC", 0.5, 0.9)) == set()


def test_the_way_leads_to_a_beginning_where_nothing_is_whole() -> None:
    """A search that was stopped shows the most promising one."""
    root = read(node("0", "A\n", scores=(0.5,)), node("0.0", "B\n", scores=(0.4,)))
    assert way_to(root, best("A\nB\n", 0.5, 0.4)) == {(), (0,), (0, 0)}


def test_looks_ahead_of_equal_steps_are_equal() -> None:
    """They are drawn once, and their tokens are not lost."""
    ahead = [node(f"{i}.0", "B c\n", scores=(0.4,), sample=Sample((i, 0), 0.0, 1)) for i in range(3)]
    root = read(*(node(str(i), "A\n", scores=(0.5,)) for i in range(3)), *ahead)
    assert [(branch.path, branch.copies, branch.tokens) for branch in root.walk()] == [
        ((), 1, 0),
        ((0,), 3, 3),
        ((0, 0), 3, 6),
    ]


def test_equal_steps_that_were_both_extended_stay_apart() -> None:
    """Each has its own children."""
    root = read(node("0", "A"), node("1", "A"), node("0.0", "B"), node("1.0", "C"))
    assert paths(root) == [(), (0,), (0, 0), (1,), (1, 0)]


def test_a_search_over_whole_solutions_is_no_tree() -> None:
    """It samples to the end."""
    assert not is_tree([Wished(0.0, Sample((0,))), Wished(0.0, Sample((1,), 0.0))])
    assert is_tree([Wished(0.0, Sample((0,), max_steps=1))])
