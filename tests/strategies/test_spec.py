"""Parameters: what contradicts itself is refused with what to change, and a copy means the same as the original."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec

SPECS: TypeAdapter[StrategySpec] = TypeAdapter(StrategySpec)


@pytest.mark.parametrize(
    ("source", "logprobs", "needs_reward_model", "steps", "select"),
    [
        ("reward_model", None, True, "min", "weighted_vote"),
        ("mean_logprob", 0, False, None, "best"),
        ("self_certainty@1", 1, False, None, "best"),
        ("self_certainty@20", 20, False, None, "best"),
    ],
)
def test_what_a_source_asks_for(
    source: str, logprobs: int | None, needs_reward_model: bool, steps: str | None, select: str
) -> None:
    """Log-probabilities of the policy, or a reward model; each with its own defaults."""
    score = ScoreSpec(source=source)
    assert (score.logprobs, score.needs_reward_model, score.bounded) == (
        logprobs,
        needs_reward_model,
        needs_reward_model,
    )
    assert (score.steps, score.select) == (steps, select)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "self_certainty"}, "self_certainty@k with k from 1 to 20"),
        ({"source": "self_certainty@0"}, "there is no source"),
        ({"source": "self_certainty@21"}, "there is no source"),
        ({"source": "self_certainty@020"}, "there is no source"),
        ({"source": "mean_logprob\n"}, "there is no source"),
        ({"source": "mean_logprob", "steps": "min"}, "leave it out"),
        ({"source": "self_certainty@5", "steps": "last"}, "leave it out"),
        ({"source": "mean_logprob", "select": "weighted_vote"}, "select best"),
        ({"steps": None}, "it must say"),
    ],
)
def test_contradictions_in_scores_are_refused(fields: dict[str, Any], said: str) -> None:
    """Nothing is accepted and then ignored."""
    with pytest.raises(ValidationError, match=said):
        ScoreSpec.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "majority_vote", "error": 0.1}, "belongs to early_stop"),
        ({"name": "majority_vote", "early_stop": "beta", "error": 0.5}, "less than 0.5"),
        ({"name": "majority_vote", "early_stop": "off", "economy": True}, "only be slower"),
        ({"name": "best_of_n", "early_stop": "off", "economy": True}, "only be slower"),
        ({"name": "best_of_n", "early_stop": "beta"}, "'exact' or 'off'"),
    ],
)
def test_contradictions_in_strategies_are_refused(fields: dict[str, Any], said: str) -> None:
    """An error without the criterion it belongs to, economy without early stopping, a criterion of another strategy."""
    with pytest.raises(ValidationError, match=said):
        SPECS.validate_python(fields)


SURE_OF_ONE = "more than one"
UNBOUNDED = "not in"


@pytest.mark.parametrize(
    ("spec", "score", "returned", "said"),
    [
        (MajorityVote(early_stop="exact"), ScoreSpec(), 2, SURE_OF_ONE),
        (MajorityVote(early_stop="beta"), ScoreSpec(), 2, SURE_OF_ONE),
        (MajorityVote(economy=True), ScoreSpec(), 2, SURE_OF_ONE),
        (BestOfN(early_stop="exact"), ScoreSpec(), 2, SURE_OF_ONE),
        (BestOfN(economy=True), ScoreSpec(select="best"), 2, SURE_OF_ONE),
        (BestOfN(early_stop="exact"), ScoreSpec(source="self_certainty@5", select="weighted_vote"), 1, UNBOUNDED),
        (BestOfN(early_stop="exact"), ScoreSpec(source="mean_logprob"), 1, UNBOUNDED),
        (BestOfN(economy=True), ScoreSpec(source="self_certainty@5"), 1, UNBOUNDED),
    ],
)
def test_early_stopping_that_cannot_be_is_refused(
    spec: MajorityVote | BestOfN, score: ScoreSpec, returned: int, said: str
) -> None:
    """Where it was asked for by name; by default it is off there."""
    with pytest.raises(ValueError, match=said):
        spec.build(score, returned=returned)


@pytest.mark.parametrize("source", ["reward_model", "mean_logprob", "self_certainty@7"])
def test_a_score_that_has_crossed_a_process_boundary_is_the_same(source: str) -> None:
    """A dump names every field; that must not read as if the caller had given them."""
    score = ScoreSpec(source=source)
    assert ScoreSpec.model_validate(score.model_dump()) == score
    assert ScoreSpec.model_validate_json(score.model_dump_json()) == score


@pytest.mark.parametrize("name", ["greedy", "sample", "majority_vote", "best_of_n"])
def test_a_strategy_that_has_crossed_a_process_boundary_is_the_same(name: str) -> None:
    """Defaults included."""
    spec = SPECS.validate_python({"name": name})
    assert SPECS.validate_python(spec.model_dump()) == spec
