"""Aggregates, votes and orders against tables worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.protocol import Answer, Candidate
from strategies.selection import (
    StepAggregate,
    aggregate,
    by_majority,
    by_score,
    by_weighted_vote,
    in_order,
    upper_bound,
)


def candidate(index: int, answer: str | None, score: float | None) -> Candidate:
    """One finished candidate with a given answer and score."""
    read = Answer(answer, answer) if answer is not None else None
    return Candidate((index,), f"text {index}", read, (), score, "stop")


@pytest.mark.parametrize(("how", "expected"), [("last", 0.5), ("min", 0.2), ("prod", 0.08), ("mean", 0.5)])
def test_step_aggregates(how: StepAggregate, expected: float) -> None:
    """0.8, 0.2, 0.5 reduced by hand."""
    assert aggregate([0.8, 0.2, 0.5], how) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("how", "growing", "at_its_end"), [("last", 1.0, 1.0), ("min", 0.5, 0.5), ("prod", 0.4, 0.4), ("mean", 1.0, 0.825)]
)
def test_bounds_with_scores_to_come(how: StepAggregate, growing: float, at_its_end: float) -> None:
    """0.8, 0.5 and two unknown, each of which may be 1; while the candidate grows, more steps may come."""
    scores = [0.8, None, 0.5, None]
    assert upper_bound(scores, how, ended=False) == pytest.approx(growing)
    assert upper_bound(scores, how, ended=True) == pytest.approx(at_its_end)


@pytest.mark.parametrize("how", ["last", "min", "prod", "mean"])
def test_nothing_known_bounds_nothing(how: StepAggregate) -> None:
    """Before the first step a score of 1 is possible."""
    assert upper_bound([], how, ended=False) == 1.0


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.integers(1, 8),
    st.sampled_from(["last", "min", "prod", "mean"]),
)
def test_no_score_exceeds_its_bound(scores: list[float], known: list[bool], written: int, how: StepAggregate) -> None:
    """Whichever scores have come, and however many steps are written: in floating point, not just nearly."""
    seen = [score if told else None for score, told in zip(scores, known, strict=False)][:written]
    assert aggregate(scores, how) <= upper_bound(seen, how, ended=written >= len(scores))


CANDIDATES = [
    candidate(0, "42", 0.1),
    candidate(1, "42", 0.2),
    candidate(2, "7", 0.9),
    candidate(3, None, 1.0),
    candidate(4, "42", 0.1),
    candidate(5, "8", None),
]


def test_majority_counts_answers_equally() -> None:
    """42 has three of five votes; the candidate without an answer has none and comes last."""
    ranking, votes = by_majority(CANDIDATES)
    assert [(v.answer.key, v.weight, v.share) for v in votes] == [
        ("42", 3, 0.6),
        ("7", 1, 0.2),
        ("8", 1, 0.2),
    ]
    assert [c.node for c in ranking] == [(1,), (0,), (4,), (2,), (5,), (3,)]


def test_weighted_vote_sums_scores() -> None:
    """7 wins with 0.9 against 42's 0.1 + 0.2 + 0.1; the unscored 8 has no vote."""
    ranking, votes = by_weighted_vote(CANDIDATES)
    assert [(v.answer.key, v.candidates) for v in votes] == [("7", 1), ("42", 3)]
    assert [v.weight for v in votes] == pytest.approx([0.9, 0.4])
    assert [c.node for c in ranking] == [(2,), (1,), (0,), (4,), (5,), (3,)]


def test_best_takes_the_highest_score_that_has_an_answer() -> None:
    """The unanswered candidate's score of 1.0 does not win."""
    ranking, _ = by_score(CANDIDATES)
    assert [c.node for c in ranking] == [(2,), (1,), (0,), (4,), (5,), (3,)]


def test_a_tie_goes_to_the_earliest_node() -> None:
    """One vote each: launch order decides, whatever order they are given in."""
    tied = [candidate(2, "b", 0.5), candidate(0, "c", 0.5), candidate(1, "a", 0.5)]
    assert [v.answer.key for v in by_majority(tied)[1]] == ["c", "a", "b"]
    assert [v.answer.key for v in by_weighted_vote(tied)[1]] == ["c", "a", "b"]


def test_one_candidate_keeps_its_place() -> None:
    """Greedy and single samples have nothing to choose from."""
    ranking, votes = in_order([candidate(0, "3", None)])
    assert ranking[0].node == (0,)
    assert votes[0].share == 1.0


@given(
    st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]), st.none() | st.floats(0, 1)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_votes_do_not_depend_on_arrival(ballots: list[tuple[str | None, float | None]], rng: object) -> None:
    """Any order of the same candidates gives the same ranking and votes, and positive shares add up to one."""
    candidates = [candidate(i, answer, score) for i, (answer, score) in enumerate(ballots)]
    shuffled = list(candidates)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    for rank in (by_majority, by_weighted_vote, by_score):
        assert rank(candidates) == rank(shuffled)
        votes = rank(candidates)[1]
        if sum(v.weight for v in votes) > 0:
            assert sum(v.share for v in votes) == pytest.approx(1.0)
