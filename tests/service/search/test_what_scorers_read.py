"""Reward models that read single steps, whole solutions step by step, or whole answers."""

import pytest
from every_strategy import TREES
from scripted_search import RIGHT, SCORES, WRONG, records, solve

from service.errors import InvalidRequest
from service.search.check import check_strategy
from service.search.past import past_of
from service.search.request import SearchRequest
from service.search.scripted import ScriptedPolicy, ScriptedScorer, SeededPolicy, SeededScorer
from strategies.beam_search import BeamSearch
from strategies.mcts import Mcts

BEST_OF_TWO = {"name": "best_of_n", "samples": 2, "early_stop": "off"}
STRICT = ["beam_search", "beam_search, lookahead", "dvts", "rebase", "particle_filter", "mcts, serial"]
"""Trees that do not depend on what comes first."""
WHOLE = {RIGHT: 0.7, WRONG: 0.2}


async def test_a_solution_that_is_read_at_once_is_asked_for_when_it_has_ended() -> None:
    """One request for each solution, with all of its steps."""
    scorer = ScriptedScorer(SCORES, reads="solution")
    result = await solve(ScriptedPolicy([RIGHT, WRONG]), BEST_OF_TWO, scorer=scorer)
    solutions = [tuple(step.strip() for step in text.split("\n\n")) for text in (RIGHT, WRONG)]
    assert sorted(scorer.asked) == sorted(solutions)
    assert [candidate.scores for candidate in result.candidates] == [(0.9, 0.8), (0.9, 0.1)]


async def test_a_candidate_that_is_cut_is_not_read() -> None:
    """The vote is decided by the two first; the third is stopped in its first step, whose text nobody asks about."""
    long = "one plus one\n\n" + "well " * 40
    scorer = ScriptedScorer({**SCORES, "well": 0.0}, reads="solution")
    policy = ScriptedPolicy([RIGHT, RIGHT, long])
    result = await solve(policy, {"name": "best_of_n", "samples": 3}, scorer=scorer, budget={"policy_tokens": 60})
    assert result.choices[0].answer == "2"
    assert all("well" not in steps[-1] for steps in scorer.asked)


@pytest.mark.parametrize("name", STRICT)
async def test_a_tree_is_the_same_however_its_scores_are_read(name: str) -> None:
    """A pause ends a stream as its end does: the steps so far are read, and the search goes on."""
    found = []
    for reads in ("step", "solution"):
        policy, scorer = SeededPolicy(), SeededScorer(reads=reads)  # type: ignore[arg-type]
        found.append(await solve(policy, TREES[name], scorer=scorer))
    assert found[0].stopped_by == found[1].stopped_by
    assert [(c.text, c.scores) for c in found[0].candidates] == [(c.text, c.scores) for c in found[1].candidates]


async def test_an_outcome_model_is_shown_each_solution_as_a_whole() -> None:
    """One score for each candidate, whatever its steps."""
    scorer = ScriptedScorer(WHOLE, reads="answer")
    result = await solve(ScriptedPolicy([RIGHT, WRONG]), BEST_OF_TWO, scorer=scorer)
    assert sorted(scorer.asked) == sorted([(RIGHT,), (WRONG,)])
    assert [(c.answer, c.scores, c.score) for c in result.candidates] == [("2", (0.7,), 0.7), ("3", (0.2,), 0.2)]


async def test_an_outcome_model_sees_no_thinking_and_nothing_after_the_answer() -> None:
    """What is judged is what is returned as solution."""
    scorer = ScriptedScorer(WHOLE, reads="answer")
    policy = ScriptedPolicy(["<think>hm\n\nhm</think>" + RIGHT + "\n\nor not", WRONG])
    await solve(policy, BEST_OF_TWO, scorer=scorer)
    assert sorted(scorer.asked) == sorted([(RIGHT,), (WRONG,)])


async def test_an_outcome_model_goes_on_from_a_search_without_scores() -> None:
    """The steps that an earlier run has told are one solution to it."""
    policy = ScriptedPolicy([RIGHT, WRONG])
    before = await solve(policy, {"name": "majority_vote", "samples": 2, "early_stop": "off"})
    asked = SearchRequest.model_validate(
        {"model": "scripted", "prompt": "what is one plus one", "trace": True, "strategy": BEST_OF_TWO}
    )
    scorer = ScriptedScorer(WHOLE, reads="answer")
    result = await solve(policy, BEST_OF_TWO, scorer=scorer, past=past_of(records(before), asked))
    assert len(policy.calls) == 2
    assert sorted(scorer.asked) == sorted([(RIGHT,), (WRONG,)])
    assert result.choices[0].score == 0.7


@pytest.mark.parametrize("strategy", [BeamSearch(), Mcts()], ids=lambda strategy: str(strategy.name))
def test_an_outcome_model_guides_no_tree(strategy: BeamSearch | Mcts) -> None:
    """It has nothing to say of an unfinished solution."""
    with pytest.raises(InvalidRequest, match="scores whole solutions"):
        check_strategy(strategy, None, model="m", reads="answer", returned=1)
