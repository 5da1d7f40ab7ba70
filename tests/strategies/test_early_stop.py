"""When a flat search stops, and what it cuts on the way: by hand."""

import pytest

from strategies.best_of_n import BestOfN
from strategies.early_stop import VoteRace
from strategies.majority_vote import MajorityVote
from strategies.protocol import (
    Action,
    Answer,
    Cancel,
    Cancelled,
    Ended,
    Event,
    Finish,
    Refused,
    Score,
    Scored,
    Step,
    Strategy,
)
from strategies.selection import Selection
from strategies.spec import ScoreSpec

BEST = ScoreSpec(select="best")


def ended(place: int, key: str | None) -> Ended:
    """The end of a candidate with this answer."""
    return Ended((place,), "stop", "text", None if key is None else Answer(key, key))


def tell(strategy: Strategy, *events: Event) -> list[Action]:
    """Tell all events and return what the last one led to."""
    actions: list[Action] = []
    for event in events:
        actions = list(strategy.on(event))
    return actions


def begun(spec: MajorityVote | BestOfN, score: ScoreSpec = ScoreSpec(), returned: int = 1) -> Strategy:
    """Build and begin."""
    strategy = spec.build(score, returned=returned)
    strategy.begin()
    return strategy


def cut(*places: int) -> list[Action]:
    """Cancels whose savings are not spent again."""
    return [Cancel((place,), forgo=True) for place in places]


# --- votes ---


def test_a_vote_is_decided_when_nobody_can_catch_up() -> None:
    """After two of five agree three may still outvote them; after three of five nothing can."""
    strategy = begun(MajorityVote(samples=5))
    assert tell(strategy, ended(4, "a"), ended(3, "a")) == []
    assert tell(strategy, ended(2, "a")) == [*cut(0, 1), Finish("decided")]
    assert strategy.votes()[0].answer.key == "a"


def test_a_tie_that_the_leader_would_win_is_decided() -> None:
    """Two of four agree, and the first candidate is theirs: at two to two the earliest answer wins."""
    assert tell(begun(MajorityVote(samples=4)), ended(0, "a"), ended(3, "a"))[-1] == Finish("decided")


def test_a_tie_that_the_leader_would_lose_is_not_decided() -> None:
    """Two of four agree, but the two others may agree on another answer that came first."""
    assert tell(begun(MajorityVote(samples=4)), ended(1, "a"), ended(3, "a")) == []


def test_a_vote_without_pending_candidates_is_completed() -> None:
    """The last candidate to end decides nothing early."""
    assert tell(begun(MajorityVote(samples=3)), ended(2, "a"), ended(1, "b"), ended(0, "b")) == [Finish("completed")]


def test_candidates_that_cannot_start_leave_the_vote_to_the_others() -> None:
    """With three of five refused, one vote is pending: it can still tie, and win if it is the earlier."""
    refused = [Refused((place,), "sample") for place in (2, 3, 4)]
    assert tell(begun(MajorityVote(samples=5)), *refused, ended(0, "a")) == [*cut(1), Finish("decided")]
    assert tell(begun(MajorityVote(samples=5)), *refused, ended(1, "a")) == []


def test_a_weighted_vote_counts_what_pending_scores_can_still_add() -> None:
    """0.9 for one answer against a candidate whose first step left it 0.8 at most, under `min`."""
    strategy = begun(BestOfN(samples=2))
    events = [Step((0,), 0, "x"), Step((1,), 0, "y"), ended(1, "b"), Scored((1,), 0, (0.9,))]
    assert tell(strategy, *events) == []
    assert tell(strategy, Scored((0,), 0, (0.8,))) == [*cut(0), Finish("decided")]


def test_a_pending_candidate_of_the_leader_is_no_threat() -> None:
    """Its answer is known, only its score is not: nobody can win but that answer."""
    strategy = begun(BestOfN(samples=2))
    events = [Step((0,), 0, "x"), Step((1,), 0, "y"), ended(0, "a"), ended(1, "a")]
    assert tell(strategy, *events) == []
    assert tell(strategy, Scored((0,), 0, (0.1,))) == [*cut(1), Finish("decided")]


def test_scores_of_a_candidate_without_an_answer_are_not_waited_for() -> None:
    """Once some candidate has an answer: before that, they may be what ranks it."""
    strategy = begun(BestOfN(samples=3, early_stop="exact"))
    assert tell(strategy, Step((0,), 0, "x"), ended(0, None)) == []
    assert tell(strategy, Step((1,), 0, "y"), ended(1, "a")) == cut(0)
    assert tell(strategy, Step((2,), 0, "z"), ended(2, None)) == cut(2)


def test_where_nobody_answers_the_highest_score_is_waited_for() -> None:
    """It ranks the candidates without an answer, with early stopping as without."""
    strategy = begun(BestOfN(samples=2))
    events: list[Event] = [Step((0,), 0, "x"), Step((1,), 0, "y"), ended(0, None), ended(1, None)]
    assert tell(strategy, *events, Scored((0,), 0, (0.2,))) == []
    assert tell(strategy, Scored((1,), 0, (0.7,))) == [Finish("completed")]
    assert strategy.ranking()[0].node == (1,)


@pytest.mark.parametrize("select", ["best", "weighted_vote"])
def test_a_candidate_whose_score_was_refused_is_no_threat(select: Selection) -> None:
    """It still grows, but without a score it wins against no scored one."""
    strategy = begun(BestOfN(samples=2), ScoreSpec(select=select))
    assert tell(strategy, Step((0,), 0, "x"), Refused((0,), "score")) == []
    actions = tell(strategy, Step((1,), 0, "y"), ended(1, "a"), Scored((1,), 0, (0.2,)))
    assert actions == [*cut(0), Finish("decided")]


def test_rounding_decides_nothing() -> None:
    """0.1 + 0.2 + 0.3 exceeds 0.6 by what rounding may take away, so that the earlier answer may win after all."""
    race = VoteRace(5)
    race.pending(0, "b", 0.6)
    for place, score in ((1, 0.1), (2, 0.2), (3, 0.3)):
        race.final(place, "a", score)
    race.final(4, None, None)
    assert not race.decided
    race.pending(0, "b", 0.59)
    assert race.decided


# --- best score ---


def test_a_candidate_below_the_best_is_cut() -> None:
    """Its first step has 0.3, so that with `min` it cannot reach 0.5 any more."""
    strategy = begun(BestOfN(samples=3), BEST)
    tell(strategy, Step((0,), 0, "x"), ended(0, "a"), Scored((0,), 0, (0.5,)))
    assert tell(strategy, Step((1,), 0, "y"), Scored((1,), 0, (0.6,))) == []
    assert tell(strategy, Step((2,), 0, "z"), Scored((2,), 0, (0.3,))) == cut(2)
    assert tell(strategy, Step((1,), 1, "y"), Scored((1,), 1, (0.4,))) == [*cut(1), Finish("decided")]


def test_a_new_best_cuts_those_behind_it() -> None:
    """Candidate 1 was at 0.3 before anybody had finished."""
    strategy = begun(BestOfN(samples=3), BEST)
    tell(strategy, Step((1,), 0, "y"), Scored((1,), 0, (0.3,)), Step((0,), 0, "x"), ended(0, "a"))
    assert tell(strategy, Scored((0,), 0, (0.5,))) == cut(1)


def test_only_an_answer_makes_a_best() -> None:
    """A candidate without an answer has lost, however high its score."""
    strategy = begun(BestOfN(samples=2), BEST)
    tell(strategy, Step((0,), 0, "x"), ended(0, None), Scored((0,), 0, (1.0,)))
    assert tell(strategy, Step((1,), 0, "y"), Scored((1,), 0, (0.1,))) == []


@pytest.mark.parametrize(("place", "lost"), [(0, cut(1)), (1, [])])
def test_an_equal_score_loses_only_behind_the_best(place: int, lost: list[Action]) -> None:
    """A score of 1 cannot be passed, and with `mean` it is all that cuts; before it, an equal one may come."""
    strategy = begun(BestOfN(samples=2), ScoreSpec(select="best", steps="mean"))
    actions = tell(strategy, Step((place,), 0, "x"), ended(place, "a"), Scored((place,), 0, (1.0,)))
    assert [action for action in actions if isinstance(action, Cancel)] == lost


def test_scores_may_come_in_any_order() -> None:
    """Step 1's score cuts a candidate before step 0's has come."""
    strategy = begun(BestOfN(samples=2), BEST)
    tell(strategy, Step((0,), 0, "x"), ended(0, "a"), Scored((0,), 0, (0.5,)))
    tell(strategy, Step((1,), 0, "y"), Step((1,), 1, "y"))
    assert tell(strategy, Scored((1,), 1, (0.4,))) == [*cut(1), Finish("decided")]


# --- all of them ---


@pytest.mark.parametrize("spec", [MajorityVote(samples=3), BestOfN(samples=3)])
def test_where_several_answers_are_returned_nothing_is_cut(spec: MajorityVote | BestOfN) -> None:
    """The second answer is not certain before the end."""
    strategy = begun(spec, returned=2)
    tell(strategy, *(Step((place,), 0, "x") for place in range(3)))
    for place in range(2):
        assert tell(strategy, ended(place, "a"), Scored((place,), 0, (1.0,))) == []


def test_certainty_is_the_score_where_there_is_no_reward_model() -> None:
    """No step is sent for scoring; a candidate whose certainty cannot be had is not the best."""
    strategy = begun(BestOfN(samples=3), ScoreSpec(source="mean_logprob"))
    answers = [Answer("a", "a"), Answer("b", "b"), Answer("c", "c")]
    assert tell(strategy, Step((0,), 0, "x")) == []
    tell(strategy, Ended((0,), "stop", "x", answers[0], -0.5), Ended((1,), "stop", "x", answers[1], -0.2))
    assert tell(strategy, Ended((2,), "stop", "x", answers[2], None)) == [Finish("completed")]
    assert [(c.node, c.score, c.scores) for c in strategy.ranking()] == [
        ((1,), -0.2, ()),
        ((0,), -0.5, ()),
        ((2,), None, ()),
    ]


def test_self_certainty_can_weigh_votes() -> None:
    """Two at 1.5 outweigh one at 2.5; nothing is cut, since a weight has no bound."""
    strategy = begun(BestOfN(samples=3), ScoreSpec(source="self_certainty@5", select="weighted_vote"))
    for place, key, value in ((0, "b", 2.5), (1, "a", 1.5), (2, "a", 1.5)):
        tell(strategy, Step((place,), 0, "x"), Ended((place,), "stop", "x", Answer(key, key), value))
    assert [(vote.answer.key, vote.weight) for vote in strategy.votes()] == [("a", 3.0), ("b", 2.5)]


def test_what_arrives_for_a_cut_candidate_changes_nothing() -> None:
    """Its last step, its end and its score were on the way when it was cut."""
    strategy = begun(BestOfN(samples=3), BEST)
    tell(strategy, Step((0,), 0, "x"), ended(0, "a"), Scored((0,), 0, (0.5,)))
    assert tell(strategy, Step((1,), 0, "y"), Scored((1,), 0, (0.3,))) == cut(1)
    late: list[Event] = [Step((1,), 1, "y"), ended(1, "b"), Scored((1,), 1, (0.9,)), Cancelled((1,))]
    for event in late:
        assert tell(strategy, event) == []
    assert tell(strategy, Step((2,), 0, "z"), ended(2, "c"), Scored((2,), 0, (0.6,)))[-1] == Finish("decided")
    assert [c.node for c in strategy.ranking()] == [(2,), (0,), (1,)]


def test_no_more_scores_are_asked_for_after_a_refusal() -> None:
    """Without one step's score there is no score at all: the others would be paid for nothing."""
    strategy = begun(BestOfN(samples=2))
    assert tell(strategy, Step((0,), 0, "x")) == [Score((0,))]
    assert tell(strategy, Refused((0,), "score"), Step((0,), 1, "x")) == []
