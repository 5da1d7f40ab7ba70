"""How a search over a tree ends: what is written to its end where nothing is whole, or where the budget cuts it."""

from collections.abc import Mapping, Sequence

from tree_world import Played, World, Written, play

from strategies.protocol import Action, Answer, Ended, Finish, Path, Paused, Refused, Sample, Score, Scored, Step
from strategies.spec import ScoreSpec
from strategies.tree import Node, TreeSearch, merge


class Rows(TreeSearch):
    """Samples a row of first steps, then a next step from each of the places in `then`."""

    def __init__(self, first: int, then: Sequence[Path] = (), score: ScoreSpec | None = None) -> None:
        super().__init__(score or ScoreSpec())
        self._first, self._then = first, then

    def _start(self) -> None:
        for _ in range(self._first):
            self._sample(self.root)

    def _idle(self) -> None:
        then, self._then = self._then, ()
        if then:
            merge(self._nodes.values())
        for path in then:
            self._sample(self._nodes[path])


def endings(played: Played) -> list[Path]:
    """The beginnings that were written to their ends, in order."""
    return [sample.node[:-1] for sample in greedy(played.actions)]


def greedy(actions: Sequence[Action]) -> list[Sample]:
    """What was asked for to its end."""
    return [action for action in actions if isinstance(action, Sample) and action.max_steps is None]


def world(steps: Mapping[Path, Written], ends: Mapping[str, tuple[float, str]]) -> World:
    """Return the world of these steps, where what follows a text that has an end is its score and its answer.

    What number an ending has among the children of its beginning is not looked at.
    """
    return lambda path, before: Written("end\n", *ends[before]) if before in ends else steps[path]


FOUR = world(
    {
        (0,): Written("a\n", 0.3),
        (1,): Written("b\n", 0.5),
        (2,): Written("c\n", 0.9),
        (3,): Written("d\n", 0.5),
        (1, 0): Written("e\n", 0.1),
    },
    {"a\n": (0.9, "5"), "b\ne\n": (0.8, "7"), "c\n": (0.8, "5"), "d\n": (0.4, "9")},
)
"""Its endings are worth the least of their path: 0.3, 0.1, 0.8 and 0.4."""


def test_a_cut_search_writes_all_that_it_has_begun_in_order_of_promise() -> None:
    """The deepest first, whatever it is worth, then the best, then the first; a refused child is no growth."""
    played = play(Rows(4, [(1,), (2,)]), FOUR, most_samples=5)
    assert endings(played) == [(1, 0), (2,), (3,), (0,)]
    assert {sample.temperature for sample in greedy(played.actions)} == {0.0}
    assert played.finished == "completed"


def test_endings_have_votes() -> None:
    """5 has 0.3 and 0.8, 9 has 0.4, and 7 has the 0.1 of its second step; the best is shown first."""
    search = Rows(4, [(1,), (2,)])
    play(search, FOUR, most_samples=5)
    votes = [(vote.answer.text, round(vote.weight, 6), vote.candidates) for vote in search.votes()]
    assert votes == [("5", 1.1, 2), ("9", 0.4, 1), ("7", 0.1, 1)]
    weighted = Rows(4, [(1,), (2,)], ScoreSpec(select="weighted_vote"))
    play(weighted, FOUR, most_samples=5)
    assert [candidate.node[:-1] for candidate in weighted.ranking()] == [(2,), (0,), (3,), (1, 0)]


def test_endings_vote_beside_what_was_whole_before() -> None:
    """The first step of one is its end, which is all that the strategy counts; the other one's next is refused."""

    class Counting(Rows):
        def _finished(self) -> Sequence[Node]:
            return [node for node in self._ended() if len(node.path) == 1]

    search = Counting(2, [(1,)])
    steps = {(0,): Written("a\n", 0.6, answer="5"), (1,): Written("b\n", 0.5)}
    assert endings(play(search, world(steps, {"b\n": (0.5, "7")}), most_samples=2)) == [(1,)]
    assert [(vote.answer.text, vote.weight) for vote in search.votes()] == [("5", 0.6), ("7", 0.5)]


def test_an_ending_stands_for_as_many_samples_as_its_beginning() -> None:
    """Three first steps, two of which are the same: it outvotes the better one, and is written once."""
    search = Rows(3, [(0,)], ScoreSpec(select="weighted_vote"))
    steps = {(0,): Written("a\n", 0.5), (1,): Written("b\n", 0.9), (2,): Written("a \n", 0.5)}
    ends = {"a\n": (0.5, "5"), "b\n": (0.9, "7")}
    assert endings(play(search, world(steps, ends), most_samples=3)) == [(1,), (0,)]
    assert [(c.node[:-1], c.multiplicity) for c in search.ranking()] == [((0,), 2), ((1,), 1)]
    assert [(vote.answer.text, vote.weight, vote.candidates) for vote in search.votes()] == [("5", 1, 2), ("7", 0.9, 1)]


def test_sixteen_beginnings_are_written_at_most() -> None:
    """Of twenty, each better than the one before: the last sixteen."""
    steps = {(child,): Written(f"{child}\n", child / 20) for child in range(20)}
    ends = {f"{child}\n": (0.5, "1") for child in range(20)}
    played = play(Rows(20, [(0,)]), world(steps, ends), most_samples=20)
    assert endings(played) == [(child,) for child in range(19, 3, -1)]


def test_nothing_is_written_to_its_end_where_nothing_was_refused_and_something_is_whole() -> None:
    """What the strategy did not grow from, it did not want; neither does a score that was refused change that."""
    steps = {(0,): Written("a\n", 0.1, answer="5"), (1,): Written("b\n", 0.9)}
    assert endings(play(Rows(2), world(steps, {}))) == []
    assert endings(play(Rows(2), world(steps, {}), most_scores=1)) == []


def test_one_beginning_is_written_where_nothing_was_refused_and_nothing_is_whole() -> None:
    """The most promising one, as the search had all that it asked for."""
    steps = {(0,): Written("a\n", 0.9), (1,): Written("b\n", 0.5), (2,): Written("c\n", 0.9)}
    steps |= {(1, 0): Written("d\n", 0.1), (2, 0): Written("e\n", 0.2)}
    assert endings(play(Rows(3, [(1,), (2,)]), world(steps, {"c\ne\n": (0.5, "5")}))) == [(2, 0)]


def test_the_question_is_answered_where_nothing_could_begin() -> None:
    """All first steps were refused."""
    assert endings(play(Rows(2), world({}, {"": (0.1, "5")}), most_samples=0)) == [()]


def test_endings_that_are_refused_are_not_asked_for_again() -> None:
    """Of two beginnings the budget has enough for the first one: that is shown, and the search ends."""
    search = Rows(2, [(0,)])
    search.begin()
    wanted = tell(search, *(event for child in (0, 1) for event in first_step(child)))
    assert wanted[-1] == Sample((0, 0), None, 1)
    first, second = (sample.node for sample in greedy(tell(search, Refused((0, 0), "sample"))))
    assert (first[:-1], second[:-1]) == ((0,), (1,))
    assert tell(search, Refused(second, "sample")) == []
    assert tell(search, Step(first, 0, "b\n")) == [Score(first)]
    ended = Ended(first, "stop", "0\nb\n", Answer("5", "5"))
    assert tell(search, ended, Scored(first, 0, (0.7,))) == [Finish("completed")]
    assert [(candidate.node, candidate.score) for candidate in search.ranking()] == [(first, 0.5)]


def first_step(child: int) -> list[Step | Scored | Paused]:
    """All that is told of a first step."""
    path = (child,)
    return [Step(path, 0, f"{child}\n"), Scored(path, 0, (0.5,)), Paused(path)]


def tell(search: TreeSearch, *events: Step | Scored | Paused | Ended | Refused) -> list[Action]:
    """All that is wanted after these events."""
    return [action for event in events for action in search.on(event)]


def test_a_beginning_that_was_given_up_is_not_written_to_its_end() -> None:
    """What was cancelled is of no promise."""

    class Choosy(Rows):
        def _known(self, node: Node) -> None:
            if node.path == (0,):
                self._cancel(self._nodes[(1,)])

    steps = {(0,): Written("a\n", 0.1), (1,): Written("b\n", 0.9)}
    assert endings(play(Choosy(2, [(0,)]), world(steps, {"a\n": (0.1, "5")}), most_samples=2)) == [(0,)]
