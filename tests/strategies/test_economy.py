"""How few candidates an economical search starts: by hand, and by trying every way in which a vote can end."""

import random
from collections.abc import Sequence
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Recorded, Replay

from strategies.best_of_n import BestOfN
from strategies.early_stop import VoteRace
from strategies.majority_vote import MajorityVote
from strategies.protocol import Action, Answer, Ended, Finish, Sample, Strategy
from strategies.spec import ScoreSpec


def ended(place: int, key: str) -> Ended:
    """The end of a candidate with this answer."""
    return Ended((place,), "stop", "text", Answer(key, key))


def begun(samples: int) -> Strategy:
    """An economical majority vote that has begun."""
    strategy = MajorityVote(samples=samples, economy=True).build(ScoreSpec())
    strategy.begin()
    return strategy


def launched(actions: Sequence[Action]) -> int:
    """How many candidates were asked for."""
    return sum(isinstance(action, Sample) for action in actions)


@pytest.mark.parametrize(("samples", "first"), [(1, 1), (2, 1), (3, 2), (16, 8), (17, 9), (64, 32)])
def test_the_first_wave_of_a_vote(samples: int, first: int) -> None:
    """Half of the candidates, rounded up: at half to half, the first answer wins."""
    spec = MajorityVote(samples=samples, economy=True)
    assert launched(spec.build(ScoreSpec()).begin()) == first


def test_a_vote_starts_more_only_when_votes_differ() -> None:
    """Of five, three start; one dissenting vote calls for one more."""
    strategy = begun(5)
    assert launched(strategy.on(ended(0, "a"))) == 0
    assert launched(strategy.on(ended(1, "b"))) == 1
    assert strategy.on(ended(2, "a")) == []
    assert strategy.on(ended(3, "a")) == [Finish("decided")]


def test_agreeing_votes_end_after_one_wave() -> None:
    """Two of three agree, and the third never starts: nothing has to be cancelled."""
    strategy = begun(3)
    assert strategy.on(ended(0, "a")) == []
    assert strategy.on(ended(1, "a")) == [Finish("decided")]


def test_best_of_n_saves_by_few_at_a_time() -> None:
    """Four streams grow, another starts when one ends."""
    rng = random.Random(3)
    group = [Recorded((1, 1), (1.0, rng.random()), "a") for _ in range(12)]
    replay = Replay(BestOfN(samples=12, economy=True).build(ScoreSpec(select="best")), group, 12, rng).run()
    assert replay.most_growing == 4


def test_a_margin_that_rounding_could_hide_starts_one_more() -> None:
    """The leader holds the tie with c, but b, a hair lighter and earlier, could still be rounded up to it."""
    race = VoteRace(5)
    for place, key, score in ((0, "b", 1 - 2**-53), (1, "a", 1.0), (2, "a", 1.0), (3, "c", 1.0)):
        race.final(place, key, score)
    assert not race.decided
    assert race.wanted(4, 0) == 1


State = tuple[str | None, ...]
"""One entry per candidate in launch order: its answer, "-" for none, `None` if it is pending."""


def majority(votes: State) -> str | None:
    """Return the answer with the most votes, the earliest of several."""
    cast = [vote for vote in votes if vote not in (None, "-")]
    return max(cast, key=lambda vote: (cast.count(vote), -cast.index(vote)), default=None)


def completions(state: State) -> list[State]:
    """Return every way in which the pending candidates can end."""
    choices = [(vote,) if vote is not None else ("a", "b", "c", "-") for vote in state]
    return list(product(*choices))


@cache
def certain(state: State) -> bool:
    """Whether the winner is the same in every completion."""
    return len({majority(votes) for votes in completions(state)}) == 1


STATES = st.lists(st.sampled_from(["a", "b", "-", None]), min_size=1, max_size=5)


@settings(deadline=None)
@given(STATES, st.data())
def test_a_vote_is_decided_exactly_when_it_is_certain(votes: list[str | None], data: st.DataObject) -> None:
    """Neither earlier nor later than by trying every way in which it can end."""
    race = VoteRace(len(votes))
    for place in data.draw(st.permutations(range(len(votes)))):
        if votes[place] is not None:
            race.final(place, None if votes[place] == "-" else votes[place], 1.0)
    assert race.decided == (certain(tuple(votes)) and majority(tuple(votes)) is not None)


@settings(deadline=None)
@given(STATES, st.integers(0, 4))
def test_no_fewer_could_decide_the_vote(votes: list[str | None], unlaunched: int) -> None:
    """The wave is the smallest with which some votes of all that is launched would make the winner certain."""
    samples = min(5, len(votes) + unlaunched)
    state = (*votes, *[None] * (samples - len(votes)))
    race = VoteRace(samples)
    for place, vote in enumerate(votes):
        if vote is not None:
            race.final(place, None if vote == "-" else vote, 1.0)
    if race.decided or samples == len(votes):
        return
    fewest = next(
        more
        for more in range(samples - len(votes) + 1)
        if any(
            certain((*launched, *[None] * (samples - len(launched))))
            for launched in completions(state[: len(votes) + more])
        )
    )
    assert race.wanted(len(votes), 0) == fewest


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans())),
    st.integers(1, 6),
)
def test_no_fewer_could_decide_the_weighted_vote(known: list[tuple[str | None, float, bool]], unlaunched: int) -> None:
    """If all that is in flight votes for one answer with its bound, the wave decides, and one less does not."""
    samples = len(known) + unlaunched

    def race(more: int, agreed: str | None) -> VoteRace:
        started = VoteRace(samples)
        for place, (key, value, over) in enumerate(known):
            if over:
                started.final(place, key, value)
            elif agreed is None:
                started.pending(place, key, value)
            else:
                started.final(place, agreed, value if key in (None, agreed) else None)
        for place in range(len(known), len(known) + more):
            started.final(place, agreed, 1.0)
        return started

    now = race(0, None)
    if now.decided:
        return
    wave = now.wanted(len(known), 0)
    answers = ("a", "b", "c")
    assert wave == unlaunched or any(race(wave, answer).decided for answer in answers)
    in_flight = any(not over for _, _, over in known)
    if wave > (0 if in_flight else 1):
        assert not any(race(wave - 1, answer).decided for answer in answers)
