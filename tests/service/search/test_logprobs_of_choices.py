"""Log-probabilities of what is returned, in searches over a scripted policy."""

from typing import Any

from scripted_search import RIGHT, SCORES, WRONG, solve

from service.search.request import SearchResult
from service.search.scripted import ScriptedPolicy, ScriptedScorer, SeededPolicy, SeededScorer

VOTE = {"name": "majority_vote", "samples": 3}
BEAM = {"name": "beam_search", "beams": 2}


async def voted(**more: Any) -> SearchResult:
    """Three candidates, two of which agree."""
    return await solve(ScriptedPolicy([RIGHT, WRONG, RIGHT], logprob=-0.25), VOTE, **more)


async def test_choices_have_a_log_probability_for_each_of_their_tokens() -> None:
    """Their texts make the choice's text; the candidates that were not chosen have none."""
    result = await voted(logprobs=2)
    (choice,) = result.choices
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs) == choice.text == RIGHT
    assert {token.logprob for token in choice.logprobs} == {-0.25}
    assert all(candidate.logprobs is None for candidate in result.candidates)


async def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    """Without the field the policy is not asked for them, and the choice has none."""
    policy = ScriptedPolicy([RIGHT])
    result = await solve(policy, {"name": "sample"})
    assert result.choices[0].logprobs is None
    assert "logprobs" not in result.choices[0].model_dump(mode="json")
    assert [(sampling.logprobs, sampling.texts) for _, _, sampling in policy.calls] == [(None, False)]


async def test_a_path_through_a_tree_has_those_of_all_its_steps() -> None:
    """Each step is written by a request of its own, and siblings share what came before them."""
    result = await solve(SeededPolicy(request_seed=1), BEAM, scorer=SeededScorer(), seed=1, logprobs=0)
    (choice,) = result.choices
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs) == choice.text
    assert len([token for token in choice.logprobs if "\n\n" in token.token]) == 3


async def test_they_are_shown_beside_scores_made_of_them() -> None:
    """A search that is guided by its own log-probabilities asks for as many as both need."""
    policy = ScriptedPolicy([RIGHT, WRONG], logprob=-0.5)
    strategy = {"name": "best_of_n", "samples": 2}
    result = await solve(policy, strategy, logprobs=3, score={"source": "mean_logprob", "select": "best"})
    assert result.choices[0].logprobs is not None
    assert {sampling.logprobs for _, _, sampling in policy.calls} == {3}


async def test_early_ends_keep_the_text_and_its_tokens_together() -> None:
    """A candidate is over with its answer; what the policy wrote after it is in neither."""
    policy = ScriptedPolicy([f"{RIGHT}\n\nand so on"])
    scorer = ScriptedScorer(SCORES)
    result = await solve(policy, {"name": "best_of_n", "samples": 1}, scorer=scorer, logprobs=0)
    (choice,) = result.choices
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs) == choice.text
