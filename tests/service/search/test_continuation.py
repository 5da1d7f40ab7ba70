"""A search goes on where an earlier one has ended, and pays only for what is new."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from every_strategy import EVERY, TREES
from scripted_search import RIGHT, SCORES, WRONG, records, solve

from service.errors import InvalidRequest
from service.search.past import Past, past_of
from service.search.ports import Bill, Chunk
from service.search.replay import replay
from service.search.request import CandidateResult, SearchRequest, SearchResult
from service.search.scripted import WRITTEN, ScriptedPolicy, ScriptedScorer, SeededPolicy, SeededScorer
from service.search.trace import Grown, Told
from strategies.protocol import Ended

TEXTS = [RIGHT, WRONG, RIGHT, WRONG, RIGHT, RIGHT]
TIMED = {"majority_vote", "best_of_n", "best_of_n, saving", "mcts", "mcts, rollouts"}
"""Depend on what came first: they cut candidates on the way, or run several simulations at once."""
SERIAL = EVERY | {"mcts, rollouts": EVERY["mcts, rollouts"] | {"parallel": 1}}


def past(result: SearchResult, **changes: object) -> Past:
    """What a search with `changes` to the request can go on from."""
    trace = records(result)
    request = trace[0].request  # type: ignore[union-attr]
    return past_of(trace, SearchRequest.model_validate(request.model_dump() | changes))


async def test_more_samples_pay_for_the_new_ones_only() -> None:
    """Two candidates, then six: four streams are asked for, and the result is that of six at once."""
    strategy = {"name": "best_of_n", "samples": 2, "early_stop": "off"}
    first = await solve(ScriptedPolicy(TEXTS), strategy, scorer=ScriptedScorer(SCORES))
    policy, scorer = ScriptedPolicy(TEXTS), ScriptedScorer(SCORES)
    six = {**strategy, "samples": 6}
    more = await solve(policy, six, scorer=scorer, past=past(first))
    at_once = await solve(ScriptedPolicy(TEXTS), six, scorer=ScriptedScorer(SCORES))
    assert len(policy.calls) == 4
    assert scorer.asked == []
    assert more.candidates == at_once.candidates
    assert more.usage == at_once.usage
    assert more.continued is not None
    assert more.continued.policy.discarded == 22


@pytest.mark.parametrize("name", sorted(EVERY.keys() - TIMED))
async def test_what_was_searched_already_is_searched_again_for_nothing(name: str) -> None:
    """Every strategy finds all that it wants in the trace of its own search."""
    first = await solve(SeededPolicy(), EVERY[name], scorer=SeededScorer())
    policy, scorer = SeededPolicy(), SeededScorer()
    again = await solve(policy, EVERY[name], scorer=scorer, past=past(first))
    assert (policy.calls, scorer.asked) == ([], [])
    assert again.model_copy(update={"seconds": 0, "trace": None, "continued": None}) == first.model_copy(
        update={"seconds": 0, "trace": None}
    )
    assert again.continued is not None
    assert again.continued.reward == again.usage.reward == first.usage.reward


LARGER = {
    "majority_vote, all": {"samples": 9},
    "best_of_n, all": {"samples": 9},
    "dvts": {"subtrees": 3},
    "mcts, serial": {"simulations": 9},
    "mcts, rollouts": {"simulations": 7},
}


@pytest.mark.parametrize("name", sorted(LARGER))
async def test_a_larger_search_goes_on_from_a_smaller_one(name: str) -> None:
    """The result is that of the larger search at once, and only what is new is generated and scored."""
    larger = SERIAL[name] | LARGER[name]
    smaller = await solve(SeededPolicy(depth=8), SERIAL[name], scorer=SeededScorer())
    policy, scorer = SeededPolicy(depth=8), SeededScorer()
    more = await solve(policy, larger, scorer=scorer, past=past(smaller))
    at_once_policy = SeededPolicy(depth=8)
    at_once = await solve(at_once_policy, larger, scorer=SeededScorer())
    assert (more.candidates, more.usage) == (at_once.candidates, at_once.usage)
    assert 0 < len(policy.calls) < len(at_once_policy.calls)


@pytest.mark.parametrize("name", sorted(TREES))
async def test_a_tree_that_its_budget_has_cut_grows_on(name: str) -> None:
    """The second run spends no token of the first again, and comes to an end of its own."""
    first = await solve(SeededPolicy(depth=8), EVERY[name], scorer=SeededScorer(), budget={"policy_tokens": 30}, seed=3)
    assert first.stopped_by == "policy_tokens"
    policy = SeededPolicy(depth=8)
    more = await solve(policy, EVERY[name], scorer=SeededScorer(), past=past(first), seed=3)
    spent = sum(bill.generated for bill in policy.bills)
    assert more.stopped_by == "completed"
    assert more.continued is not None
    assert more.continued.policy.discarded + spent == more.usage.policy.kept + more.usage.policy.discarded


async def test_single_steps_are_no_part_of_whole_solutions() -> None:
    """A tree cannot go on from a vote: where its nodes would pause is not known."""
    first = await solve(SeededPolicy(), {"name": "majority_vote", "samples": 6}, scorer=SeededScorer())
    with pytest.raises(InvalidRequest, match="wrote on where"):
        await solve(SeededPolicy(), EVERY["beam_search"], scorer=SeededScorer(), past=past(first))


async def test_whole_solutions_go_on_from_single_steps() -> None:
    """A vote takes the first steps of a tree as the beginnings of its candidates."""
    first = await solve(SeededPolicy(), EVERY["dvts"], scorer=SeededScorer())
    policy = SeededPolicy()
    vote = await solve(policy, {"name": "majority_vote", "samples": 2, "early_stop": "off"}, past=past(first))
    begun = {record.node: record.text for record in records(first) if isinstance(record, Grown)}
    assert all(candidate.text.startswith(begun[(place,)]) for place, candidate in enumerate(by_place(vote)))


def by_place(result: SearchResult) -> list[CandidateResult]:
    """The candidates of a vote in the order in which they were asked for."""
    ended = [r.event for r in records(result) if isinstance(r, Told) and isinstance(r.event, Ended)]
    texts = [event.text for event in sorted(ended, key=lambda event: event.node)]
    return sorted(result.candidates, key=lambda candidate: texts.index(candidate.text))


async def test_a_candidate_that_was_cut_off_is_written_on() -> None:
    """The deadline fell on the second candidate's fifth token; its other six are all that is generated."""
    pauses = iter([0.0] * 11 + [0.0] * 5 + [60.0])
    slow = ScriptedPolicy([RIGHT, WRONG], pause=lambda: next(pauses))
    strategy = {"name": "majority_vote", "samples": 2, "early_stop": "off"}
    first = await solve(slow, strategy, deadline_s=0.2, budget={"parallel": 1})
    assert first.stopped_by == "deadline"
    policy = ScriptedPolicy([RIGHT, WRONG])
    more = await solve(policy, strategy, past=past(first))
    assert [bill.generated for bill in policy.bills] == [6]
    assert sorted(c.text for c in more.candidates) == sorted([RIGHT, WRONG])
    assert more.usage.policy.kept + more.usage.policy.discarded == 22


async def test_a_candidate_that_the_cap_has_cut_is_written_on_under_a_larger_cap() -> None:
    """Six tokens, then eleven: five are new."""
    first = await solve(ScriptedPolicy([RIGHT]), {"name": "sample"}, max_completion_tokens=6)
    policy = ScriptedPolicy([RIGHT])
    more = await solve(policy, {"name": "sample"}, max_completion_tokens=11, past=past(first))
    assert [bill.generated for bill in policy.bills] == [5]
    assert more.choices[0].text == RIGHT


async def test_the_budget_counts_what_was_paid_before() -> None:
    """22 tokens are gone; of a budget of 40 one more candidate of 11 can be had, and not two."""
    strategy = {"name": "majority_vote", "samples": 2, "early_stop": "off"}
    first = await solve(ScriptedPolicy(TEXTS), strategy, max_completion_tokens=11)
    policy = ScriptedPolicy(TEXTS)
    more = await solve(
        policy,
        {**strategy, "samples": 6},
        past=past(first),
        budget={"policy_tokens": 40},
        max_completion_tokens=11,
    )
    assert (len(policy.calls), more.stopped_by) == (1, "policy_tokens")


async def test_a_continuation_can_be_replayed_and_continued() -> None:
    """Its trace holds the earlier run's bills too."""
    strategy = {"name": "majority_vote", "samples": 1, "early_stop": "off"}
    first = await solve(ScriptedPolicy(TEXTS), strategy)
    second = await solve(ScriptedPolicy(TEXTS), {**strategy, "samples": 2}, past=past(first))
    again = replay(records(second))
    assert again == second.model_copy(update={"trace": None, "seconds": again.seconds})
    policy = ScriptedPolicy(TEXTS)
    third = await solve(policy, {**strategy, "samples": 3}, past=past(second))
    assert len(policy.calls) == 1
    assert third.usage.policy.kept + third.usage.policy.discarded == 33


class Talkative(ScriptedPolicy):
    """Writes up to `more` words after it was told to stop."""

    more = 2

    async def stream(self, prompt: tuple[int, ...], *, bill: Bill, **how: Any) -> AsyncGenerator[Chunk, None]:
        writing = super().stream(prompt, bill=bill, **how)
        try:
            async for chunk in writing:
                yield chunk
        finally:
            await writing.aclose()
            words = re.findall(r"\s+|\S+", self.solutions[0])
            first, last = bill.generated, min(len(words), bill.generated + self.more)
            if last > first:
                reason = "stop" if last == len(words) else None
                ids = tuple(range(WRITTEN + first, WRITTEN + last))
                bill.unread, bill.generated = Chunk("".join(words[first:last]), ids, reason), last


@pytest.mark.parametrize(("more", "left"), [(2, [3]), (5, [])])
async def test_what_was_written_after_the_stop_is_not_written_again(more: int, left: list[int]) -> None:
    """Six of eleven tokens were read before the deadline, some more came on the bill: those are not paid for twice."""
    pauses = iter([0.0] * 6 + [60.0])
    slow = Talkative([RIGHT], pause=lambda: next(pauses))
    slow.more = more
    first = await solve(slow, {"name": "sample"}, deadline_s=0.2)
    policy = ScriptedPolicy([RIGHT])
    second = await solve(policy, {"name": "sample"}, past=past(first))
    assert [bill.generated for bill in policy.bills] == left
    assert (second.choices[0].text, second.choices[0].tokens) == (RIGHT, 11)


@pytest.mark.parametrize("change", [{"prompt": "another question"}, {"seed": 3}, {"sampling": {"top_p": 0.5}}])
async def test_another_question_is_no_continuation(change: dict[str, object]) -> None:
    """What decides the text of a candidate must be the same."""
    first = await solve(ScriptedPolicy([RIGHT]), {"name": "sample"})
    with pytest.raises(InvalidRequest, match=next(iter(change))):
        past(first, **change)


async def test_what_was_decoded_greedily_is_not_taken_for_a_sample() -> None:
    """A vote cannot go on from a greedy search: its first candidate would be no draw."""
    first = await solve(ScriptedPolicy([RIGHT]), {"name": "greedy"})
    with pytest.raises(InvalidRequest, match="temperature"):
        await solve(ScriptedPolicy([RIGHT]), {"name": "majority_vote", "samples": 1}, past=past(first))
