"""Selections on 60 MATH problems with 8 real candidates and real rewards each; skipped where the file is absent.

The rewards are raw outputs of an outcome reward model. The logistic function takes them into (0, 1): that keeps their
order, and makes them weights.
"""

import json
import random
from dataclasses import dataclass
from math import exp, fsum
from pathlib import Path

import pytest
from recorded import Recorded, Replay

from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.sample import SampleOne
from strategies.selection import Selection, StepAggregate
from strategies.spec import ScoreSpec

_SCORED = Path(__file__).resolve().parents[3] / "shared" / "data" / "scored_candidates.jsonl"

PASS_1, MAJ_8, RM_8, RM_VOTE_8 = 92.5, 95.0, 96.67, 96.67
"""Percent of right answers; of 60 problems, or of 480 candidates for the first."""

pytestmark = pytest.mark.skipif(not _SCORED.exists(), reason=f"{_SCORED} is absent")


@dataclass(frozen=True, slots=True)
class Problem:
    """The eight candidates of one problem, and for each: is it right, and its reward taken into (0, 1)."""

    recorded: list[Recorded]
    correct: list[bool]
    weights: list[float]

    @property
    def answers(self) -> list[str | None]:
        """The candidates' answers, as the file has them."""
        return [candidate.answer for candidate in self.recorded]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Read the file; a candidate's steps are its blocks, whose scores fall evenly from 1 to its own."""
    read = []
    for line in _SCORED.read_text().splitlines():
        candidates = json.loads(line)["candidates"]
        weights = [1 / (1 + exp(-candidate["reward"][0])) for candidate in candidates]
        recorded = [_recorded(c["text"], c["answer"], w) for c, w in zip(candidates, weights, strict=True)]
        read.append(Problem(recorded, [candidate["correct"] for candidate in candidates], weights))
    return read


def _recorded(text: str, answer: str, weight: float) -> Recorded:
    blocks = text.split("\n\n")
    path = [1 - (1 - weight) * number / len(blocks) for number in range(1, len(blocks))]
    return Recorded(tuple(len(block.split()) for block in blocks), (*path, weight), answer)


def _accuracy(right: list[bool]) -> float:
    return round(100 * sum(right) / len(right), 2)


def _chosen(spec: MajorityVote | BestOfN | SampleOne, score: ScoreSpec, recorded: list[Recorded]) -> int:
    return Replay(spec.build(score), recorded, 8, random.Random(0)).run().winner.node[0]


def test_the_file_is_what_the_figures_are_of(problems: list[Problem]) -> None:
    """60 problems with 8 candidates, each answered, and equal answers are graded alike."""
    assert [len(problem.recorded) for problem in problems] == [8] * 60
    for problem in problems:
        grades = set(zip(problem.answers, problem.correct, strict=True))
        assert len(grades) == len(set(problem.answers))


def test_pass_at_1(problems: list[Problem]) -> None:
    """Each candidate alone is its own winner."""
    right = []
    for problem in problems:
        for place, candidate in enumerate(problem.recorded):
            winner = Replay(SampleOne().build(ScoreSpec()), [candidate], 1, random.Random(0)).run().winner
            assert winner.answer is not None
            assert winner.answer.key == candidate.answer
            right.append(problem.correct[place])
    assert _accuracy(right) == PASS_1


def test_majority_of_8(problems: list[Problem]) -> None:
    """The most frequent answer, the earliest where two are equally frequent."""
    right = []
    for problem in problems:
        first: str | None = None
        for answer in problem.answers:
            if first is None or problem.answers.count(answer) > problem.answers.count(first):
                first = answer
        place = _chosen(MajorityVote(samples=8), ScoreSpec(), problem.recorded)
        assert problem.answers[place] == first
        right.append(problem.correct[place])
    assert _accuracy(right) == MAJ_8


@pytest.mark.parametrize("steps", ["last", "min"])
def test_highest_reward_of_8(problems: list[Problem], steps: StepAggregate) -> None:
    """The candidate with the highest reward, the earliest where two have the same."""
    right = []
    for problem in problems:
        best = 0
        for place, weight in enumerate(problem.weights):
            if weight > problem.weights[best]:
                best = place
        place = _chosen(BestOfN(samples=8), ScoreSpec(steps=steps, select="best"), problem.recorded)
        assert place == best
        right.append(problem.correct[place])
    assert _accuracy(right) == RM_8


@pytest.mark.parametrize("steps", ["last", "min"])
def test_reward_vote_of_8(problems: list[Problem], steps: StepAggregate) -> None:
    """The answer whose candidates' rewards have the highest sum."""
    right = []
    for problem in problems:
        sums = {
            answer: fsum(w for a, w in zip(problem.answers, problem.weights, strict=True) if a == answer)
            for answer in problem.answers
        }
        place = _chosen(BestOfN(samples=8), ScoreSpec(steps=steps), problem.recorded)
        assert sums[problem.answers[place]] == max(sums.values())
        right.append(problem.correct[place])
    assert _accuracy(right) == RM_VOTE_8


@pytest.mark.parametrize("economy", [False, True])
@pytest.mark.parametrize("select", ["best", "weighted_vote", None])
def test_early_stopping_keeps_the_winner(problems: list[Problem], select: Selection | None, economy: bool) -> None:
    """In ten orders of arrival each, at 1 to 8 in flight; `None` is the equal vote."""
    score = ScoreSpec(select=select or "best")
    kind = MajorityVote if select is None else BestOfN
    for number, problem in enumerate(problems):
        full = Replay(kind(samples=8, early_stop="off").build(score), problem.recorded, 8, random.Random(0)).run()
        for order in range(10):
            rng = random.Random(100 * number + order)
            strategy = kind(samples=8, economy=economy).build(score)
            stopped = Replay(strategy, problem.recorded, rng.randint(1, 8), rng).run()
            assert stopped.winning_key == full.winning_key
            assert stopped.policy_tokens <= full.policy_tokens
            if select == "best":
                assert stopped.winner.node == full.winner.node
