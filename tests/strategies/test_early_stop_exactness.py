"""Early stopping names the same winner as the full search: recorded candidates replayed in any order of arrival."""

import random
from math import fsum

from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Recorded, Replay

from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.protocol import Strategy
from strategies.selection import Selection, StepAggregate
from strategies.spec import ScoreSpec

SCORES = st.none() | st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.9, 1.0]) | st.floats(0, 1)


@st.composite
def recorded(draw: st.DrawFn) -> Recorded:
    """One candidate: up to four steps, an answer out of few, scores that are often equal, sometimes refused."""
    steps = draw(st.integers(1, 4))
    likely = draw(st.booleans())
    score = st.sampled_from([0.5, 1.0]) if likely else SCORES
    return Recorded(
        tokens=tuple(draw(st.lists(st.integers(1, 9), min_size=steps, max_size=steps))),
        scores=tuple(draw(st.lists(score, min_size=steps, max_size=steps))),
        answer=draw(st.sampled_from(["a", "a", "b", "c", None])),
        reason=draw(st.sampled_from(["stop", "stop", "length"])),
        starts=draw(st.integers(0, 9)) > 0,
    )


GROUPS = st.lists(recorded(), min_size=1, max_size=9)
PARALLEL = st.integers(1, 9)
SEED = st.integers(0, 2**32)


def play(strategy: Strategy, group: list[Recorded], parallel: int, seed: int) -> Replay:
    """Play `group` to `strategy` once."""
    return Replay(strategy, group, parallel, random.Random(seed)).run()


def nothing_to_show(group: list[Recorded]) -> bool:
    """Whether no candidate ever starts."""
    return not any(candidate.starts for candidate in group)


def expected_key(group: list[Recorded], score: ScoreSpec) -> str | None:
    """Return the answer that wins when everything is known, from plain loops over the candidates."""
    started = [candidate for candidate in group if candidate.starts]
    scores = [plain_score(candidate, score) for candidate in started]
    first = started[0].answer
    best: tuple[bool, bool, float] | None = None
    weights: dict[str, list[float]] = {}
    for candidate, value in zip(started, scores, strict=True):
        order = (candidate.answer is not None, value is not None, value or 0.0)
        if best is None or order > best:
            best, first = order, candidate.answer
        if candidate.answer is not None and value is not None:
            weights.setdefault(candidate.answer, []).append(value)
    if score.select == "best" or not weights:
        return first
    return max(weights, key=lambda answer: fsum(weights[answer]))


def plain_score(candidate: Recorded, score: ScoreSpec) -> float | None:
    """Reduce the recorded step scores to one; `None` where one was refused."""
    known = [value for value in candidate.scores if value is not None]
    if len(known) < len(candidate.scores):
        return None
    product = 1.0
    for value in known:
        product *= value
    return {"min": min(known), "last": known[-1], "mean": fsum(known) / len(known), "prod": product}[score.steps or ""]


@settings(max_examples=300, deadline=None)
@given(GROUPS, PARALLEL, SEED, st.booleans())
def test_a_majority_is_the_same(group: list[Recorded], parallel: int, seed: int, economy: bool) -> None:
    """Whatever arrives first, with fewer tokens or as many, and counted apart from our arithmetic."""
    full = play(MajorityVote(samples=len(group), early_stop="off").build(ScoreSpec()), group, parallel, seed)
    stopped = play(MajorityVote(samples=len(group), economy=economy).build(ScoreSpec()), group, parallel, seed + 1)
    assert full.reason == "completed"
    assert stopped.policy_tokens <= full.policy_tokens
    if nothing_to_show(group):
        return
    assert stopped.winning_key == full.winning_key
    answers = [c.answer for c in group if c.starts and c.answer is not None]
    best = max(answers, key=lambda a: (answers.count(a), -answers.index(a)), default=None)
    assert full.winning_key == best


@settings(max_examples=600, deadline=None)
@given(
    GROUPS,
    PARALLEL,
    SEED,
    st.booleans(),
    st.sampled_from(["min", "prod", "mean", "last"]),
    st.sampled_from(["best", "weighted_vote"]),
)
def test_the_best_is_the_same(
    group: list[Recorded], parallel: int, seed: int, economy: bool, steps: StepAggregate, select: Selection
) -> None:
    """Same answer by weighted vote, same candidate by best score; neither tokens nor scores beyond the full search."""
    score = ScoreSpec(steps=steps, select=select)
    full = play(BestOfN(samples=len(group), early_stop="off").build(score), group, parallel, seed)
    stopped = play(BestOfN(samples=len(group), economy=economy).build(score), group, parallel, seed + 1)
    assert full.reason == "completed"
    assert stopped.policy_tokens <= full.policy_tokens
    if nothing_to_show(group):
        return
    assert stopped.winning_key == full.winning_key == expected_key(group, score)
    if select == "best":
        assert stopped.winner.node == full.winner.node
        assert stopped.winner.score == full.winner.score
