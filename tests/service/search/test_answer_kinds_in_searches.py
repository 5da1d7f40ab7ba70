from typing import Any

import pytest
from every_strategy import FLAT, TREES
from scripted_search import records

from service.errors import InvalidRequest
from service.library import BoxedReader, ScriptedPolicy, ScriptedScorer, SearchResult, solve
from service.search.constraint import Constraint
from service.search.past import past_of
from service.search.request import SearchRequest
from service.search.scripted import SeededPolicy, SeededScorer

JUDGING = TREES | {name: spec for name, spec in FLAT.items() if spec["name"] == "best_of_n"}
QUESTION = "Which of the two?"
THREE = {"name": "best_of_n", "samples": 3}


async def asked(solutions: list[str], answer: Any, strategy: Any = THREE, **more: Any) -> SearchResult:
    """Search over scripted solutions; the last word of each is its score."""
    scores = {text.strip(): float(text.split()[-1]) for text in solutions} if strategy == THREE else {}
    scorer = ScriptedScorer(scores) if scores else None
    policy = ScriptedPolicy(solutions)
    return await solve(QUESTION, policy=policy, reward=scorer, strategy=strategy, answer=answer, **more)


async def test_without_answers_every_candidate_stands_for_itself() -> None:
    """The judge selects among all of them, equal ones included."""
    result = await asked(["same 0.2", "same 0.2", "other 0.7"], "none")
    assert [candidate.text for candidate in result.candidates] == ["other 0.7", "same 0.2", "same 0.2"]
    assert (result.choices[0].answer, result.votes, result.confidence) == (None, (), None)


@pytest.mark.parametrize("name", sorted(JUDGING))
async def test_without_answers_every_strategy_returns_what_is_judged_best(name: str) -> None:
    """Whatever its default is where there are answers."""
    engines: Any = {"policy": SeededPolicy(), "reward": SeededScorer()}
    result = await solve(QUESTION, **engines, strategy=JUDGING[name], answer="none")
    scores = [candidate.score for candidate in result.candidates if candidate.score is not None]
    assert len(scores) > 1
    assert result.choices[0].score == max(scores)
    assert result.votes == ()


async def test_the_best_of_them_are_as_many_as_asked_for() -> None:
    """Without answers none is another's double."""
    result = await asked(["same 0.2", "same 0.2", "other 0.7"], "none", n=3)
    assert len(result.choices) == 3


async def test_votes_pool_by_the_kind_of_answer() -> None:
    """Two ways to choose B outvote an A that is judged better than each."""
    result = await asked(["The answer is (B) 0.4", "The answer is B 0.4", "The answer is A 0.5"], "choice")
    assert result.choices[0].answer == "B"
    assert [(vote.key, vote.candidates) for vote in result.votes] == [("B", 2), ("A", 1)]


@pytest.mark.parametrize(("answer", "text"), [("math", "so \\boxed{1}\n\n"), ("number", "so \\boxed{1}\n\nand 2")])
async def test_a_box_ends_a_solution_only_where_it_is_the_answer(answer: str, text: str) -> None:
    """Other kinds may come later."""
    result = await asked(["so \\boxed{1}\n\nand 2"], answer, "sample")
    assert result.choices[0].text == text


async def test_a_text_that_was_cut_off_is_no_exact_answer() -> None:
    """What stands there is not the whole of it."""
    strategy = {"name": "majority_vote", "samples": 3, "early_stop": "off"}
    result = await asked(["a b c d", "a b c e", "z"], "exact", strategy, max_completion_tokens=5)
    assert result.choices[0].text == "z"
    assert [candidate.answer for candidate in result.candidates] == ["z", None, None]


async def test_what_is_kept_to_a_form_is_the_answer_as_it_stands() -> None:
    """The policy is told the form; math would have read the box."""
    policy = ScriptedPolicy(["\\boxed{1} or\n\n2"])
    result = await solve(QUESTION, policy=policy, strategy="sample", constraint={"form": "regex", "text": ".*"})
    assert result.choices[0].key == "\\boxed{1} or 2"
    assert policy.calls[0][2].constraint == Constraint(form="regex", text=".*")


async def test_single_steps_are_not_kept_to_a_form() -> None:
    """Nobody could tell where in it a step begins."""
    strategy, policy = {"name": "beam_search"}, ScriptedPolicy(["1"])
    with pytest.raises(InvalidRequest, match="single steps"):
        await solve(QUESTION, policy=policy, strategy=strategy, constraint={"form": "json_object"})


async def test_a_pattern_that_never_ends_ends_the_search() -> None:
    """The client is told, and what was started is closed."""
    with pytest.raises(InvalidRequest, match="too much time"):
        await asked(["a" * 40 + "!"], {"kind": "regex", "pattern": "((?:a+)+)$"}, "sample")


async def test_a_search_goes_on_only_with_the_same_kind_of_answer() -> None:
    """Its candidates were read as the trace says."""
    strategy = {"name": "majority_vote", "samples": 2}
    before = records(await asked(["1", "2"], "number", strategy, trace=True))
    request = before[0].request  # type: ignore[union-attr]
    assert past_of(before, request).writings
    other = SearchRequest.model_validate(request.model_dump() | {"answer": {"kind": "exact"}})
    with pytest.raises(InvalidRequest, match="another answer"):
        past_of(before, other)


async def test_a_reader_of_ones_own_and_a_kind_contradict_each_other() -> None:
    """Neither is ignored."""
    with pytest.raises(InvalidRequest, match="both read answers"):
        await asked(["1"], "number", "sample", reader=BoxedReader())
