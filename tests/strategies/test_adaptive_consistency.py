"""The Beta criterion: its arithmetic against exact binomial sums, and judgement in launch order."""

import random
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Recorded, Replay

from strategies.adaptive_consistency import AdaptiveConsistency, doubt
from strategies.majority_vote import MajorityVote
from strategies.protocol import Action, Answer, Cancel, Ended, Event, Finish, Refused, Sample
from strategies.spec import ScoreSpec


def ended(place: int, key: str | None) -> Ended:
    """The end of a candidate with this answer."""
    return Ended((place,), "stop", "text", None if key is None else Answer(key, key))


def told(spec: MajorityVote, *events: Event) -> list[list[Action]]:
    """Begin, tell all events, and return what each led to."""
    strategy = spec.build(ScoreSpec())
    strategy.begin()
    return [list(strategy.on(event)) for event in events]


@pytest.mark.parametrize(
    ("leading", "second", "expected"),
    [(0, 0, 1 / 2), (1, 0, 1 / 4), (1, 1, 1 / 2), (3, 0, 1 / 16), (4, 0, 1 / 32), (4, 1, 7 / 64), (6, 1, 9 / 256)],
)
def test_doubt_by_hand(leading: int, second: int, expected: float) -> None:
    """Sums of binomials over powers of two, such as (1 + 6) / 64 for four against one."""
    assert doubt(leading, second) == expected


@given(st.integers(0, 60), st.integers(0, 60))
def test_doubt_is_the_incomplete_beta_function(leading: int, second: int) -> None:
    """I_{1/2}(a + 1, b + 1) from the integral's polynomial, exact in fractions."""
    a, b = max(leading, second), min(leading, second)
    # B(1/2; a+1, b+1) = sum_j C(b, j) (-1)^j (1/2)^(a+1+j) / (a+1+j), and 1/B(a+1, b+1) = (a+b+1) C(a+b, a).
    terms = (Fraction((-1) ** j * comb(b, j), (a + 1 + j) * 2 ** (a + 1 + j)) for j in range(b + 1))
    assert doubt(a, b) == float(sum(terms, Fraction()) * (a + b + 1) * comb(a + b, a))


@pytest.mark.parametrize(("error", "looks"), [(0.05, 4), (0.01, 6), (0.3, 1), (1 / 32, 5)])
def test_agreement_ends_the_search(error: float, looks: int) -> None:
    """With k votes for one answer the doubt is 2^-(k+1): below 0.05 at four, 0.01 at six, 0.3 at one, 1/32 at five."""
    spec = MajorityVote(samples=64, early_stop="beta", error=error)
    actions = told(spec, *(ended(place, "a") for place in range(looks)))
    assert actions[:-1] == [[]] * (looks - 1)
    assert actions[-1] == [*(Cancel((place,), forgo=True) for place in range(looks, 64)), Finish("decided_beta")]


def test_the_order_of_finishing_does_not_count() -> None:
    """Four that agree are nothing as long as an earlier one is still being written."""
    spec = MajorityVote(samples=64, early_stop="beta")
    *early, last = told(spec, *(ended(place, "a") for place in (4, 3, 2, 1)), ended(0, "a"))
    assert early == [[]] * 4
    assert last[-1] == Finish("decided_beta")


def test_only_the_prefix_votes() -> None:
    """The first four decide for a, though five later ones have already ended with b."""
    strategy = MajorityVote(samples=64, early_stop="beta").build(ScoreSpec())
    strategy.begin()
    for event in [*(ended(place, "b") for place in range(4, 9)), *(ended(place, "a") for place in range(4))]:
        strategy.on(event)
    assert [(vote.answer.key, vote.weight) for vote in strategy.votes()] == [("a", 4.0)]
    assert [c.node[0] for c in strategy.ranking()] == list(range(9))


def test_candidates_without_a_vote_do_not_block_the_prefix() -> None:
    """One had no answer, one never started."""
    events = [ended(0, None), Refused((1,), "sample"), *(ended(place, "a") for place in range(2, 6))]
    assert told(MajorityVote(samples=64, early_stop="beta"), *events)[-1][-1] == Finish("decided_beta")


def test_a_prefix_that_decides_the_full_vote_ends_it_too() -> None:
    """Two of three: the criterion would want four, but the third cannot change anything."""
    spec = MajorityVote(samples=3, early_stop="beta")
    assert told(spec, ended(0, "a"), ended(1, "a"))[-1] == [Cancel((2,), forgo=True), Finish("decided")]


VOTES = st.lists(st.sampled_from(["a", "a", "b", "c", None]), min_size=1, max_size=14)


@settings(deadline=None)
@given(VOTES, st.integers(1, 14), st.integers(0, 2**32), st.booleans())
def test_the_outcome_does_not_depend_on_arrival(
    votes: list[str | None], parallel: int, seed: int, economy: bool
) -> None:
    """The winner is the majority of the first prefix with little doubt, or of all, whatever ends first."""
    spec = MajorityVote(samples=len(votes), early_stop="beta", error=0.1, economy=economy)
    replay = Replay(
        spec.build(ScoreSpec()), [Recorded((1,), (), vote) for vote in votes], parallel, random.Random(seed)
    )
    counted = len(votes)
    for prefix in range(1, len(votes) + 1):
        counts = sorted((votes[:prefix].count(vote) for vote in {*votes} - {None}), reverse=True)
        leading, second, *_ = [*counts, 0, 0]
        if Fraction(sum(comb(leading + second + 1, i) for i in range(second + 1)), 2 ** (leading + second + 1)) < 0.1:
            counted = prefix
            break
    cast = [vote for vote in votes[:counted] if vote is not None]
    expected = max(cast, key=lambda vote: (cast.count(vote), -cast.index(vote)), default=None)
    assert replay.run().winning_key == expected


@pytest.mark.parametrize(
    ("votes", "launched", "more"),
    [([], 0, 4), (["a"], 1, 3), (["a", "a", None], 3, 2), (["a", "b"], 2, 5), (["a", None, "b"], 3, 5)],
)
def test_the_wave_could_just_meet_the_criterion(votes: list[str | None], launched: int, more: int) -> None:
    """At error 0.05: four to none, or six to one."""
    rule = AdaptiveConsistency(64, 0.05)
    for place, vote in enumerate(votes):
        rule.final(place, vote, 1.0)
    assert rule.wanted(launched, 0) == more


def test_the_first_wave_is_small() -> None:
    """Four that agree would do."""
    actions = MajorityVote(samples=64, early_stop="beta", economy=True).build(ScoreSpec()).begin()
    assert [action.node for action in actions if isinstance(action, Sample)] == [(0,), (1,), (2,), (3,)]
