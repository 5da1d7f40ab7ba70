"""Streams that grow from each other: one step at a time, ids carried on, only what is new scored."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from scripted_search import solve

from service.search.ports import Chunk
from service.search.request import SearchResult
from service.search.scripted import SeededPolicy, SeededScorer
from service.search.streams import STEP_TOKENS
from service.search.trace import Grown, Record, Told, Wished, from_json
from strategies.protocol import Ended, Path, Paused, Sample, Step
from strategies.spec import ScoreSpec, Spec
from strategies.tree import Node, TreeSearch


class Twigs(Spec):
    """Two first steps, and two next ones from each node that can be grown from, down to `levels`."""

    name: str = "twigs"
    levels: int = 3
    steps: int = 1

    @property
    def needs_scores(self) -> bool:
        return True

    @property
    def candidates(self) -> int:
        return 2**self.levels

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> TreeSearch:
        return _Growing(score, self.levels, self.steps)


class _Growing(TreeSearch):
    def __init__(self, score: ScoreSpec, levels: int, steps: int) -> None:
        super().__init__(score)
        self.levels, self.steps = levels, steps

    def _start(self) -> None:
        for _ in range(2):
            self._sample(self.root, max_steps=self.steps)

    def _known(self, node: Node) -> None:
        if node.paused is not None and not node.lost and len(node.path) < self.levels:
            for _ in range(2):
                self._sample(node, max_steps=self.steps)


@dataclass
class Recording(SeededPolicy):
    """Keeps the prompts that it was given."""

    prompts: list[tuple[int, ...]] = field(default_factory=list)

    def stream(self, prompt: tuple[int, ...], **how: Any) -> AsyncGenerator[Chunk, None]:
        self.prompts.append(prompt)
        return super().stream(prompt, **how)


def records_of(result: SearchResult) -> Sequence[Record]:
    return [from_json(record, Twigs) for record in result.trace or ()]


def events(result: SearchResult, kind: type) -> list[Any]:
    return [r.event for r in records_of(result) if isinstance(r, Told) and isinstance(r.event, kind)]


@pytest.mark.parametrize("stops_at_steps", [True, False])
async def test_a_child_goes_on_from_its_parents_tokens(stops_at_steps: bool) -> None:
    """Each prompt is the question's, then all that the ancestors wrote, whether or not the engine stops at steps."""
    policy = Recording(stops_at_steps=stops_at_steps)
    result = await solve(policy, Twigs(), scorer=SeededScorer())
    grown = {record.node: record for record in records_of(result) if isinstance(record, Grown)}
    question = policy.prompts[0]
    before = [tuple(t for d in range(1, len(n)) for t in grown[n[:d]].token_ids) for n in grown]
    assert sorted(policy.prompts) == sorted(question + ids for ids in before)
    assert any(before)


@pytest.mark.parametrize("stops_at_steps", [True, False])
async def test_a_solution_is_its_steps(stops_at_steps: bool) -> None:
    """What ended has the text of its ancestors and its own."""
    result = await solve(SeededPolicy(stops_at_steps=stops_at_steps), Twigs(), scorer=SeededScorer())
    steps: dict[tuple[int, ...], str] = {}
    for step in events(result, Step):
        steps[step.node] = steps.get(step.node, "") + step.text
    ended = events(result, Ended)
    assert ended
    for event in ended:
        assert event.text == "".join(steps.get(event.node[:depth], "") for depth in range(1, len(event.node) + 1))


async def test_a_paused_stream_has_written_the_steps_it_was_asked_for() -> None:
    """Two at a time here."""
    result = await solve(SeededPolicy(depth=6), Twigs(steps=2), scorer=SeededScorer())
    told = [step.node for step in events(result, Step)]
    paused = events(result, Paused)
    assert paused
    assert {told.count(event.node) for event in paused} == {2}


async def test_no_step_is_scored_twice() -> None:
    """Siblings that wrote the same share a score; what lies before a step is not scored again with it."""
    scorer = SeededScorer()
    await solve(SeededPolicy(), Twigs(levels=4), scorer=scorer)
    assert len(scorer.asked) == len(set(scorer.asked))
    assert [bill.generated for bill in scorer.bills] == [1] * len(scorer.asked)


class Longwinded(SeededPolicy):
    """Every step is longer than what is reserved at once."""

    def _words(self, prompt: tuple[int, ...], seed: int) -> list[str]:
        written = len(prompt) - 5
        words = [f"w{i} " for i in range(STEP_TOKENS + 9)] + ["\n\n"] + ["\\boxed{1}"]
        return words[written:]


async def test_a_step_longer_than_what_is_reserved_at_once_is_asked_for_again() -> None:
    """It goes on from its own tokens, with another seed, and is one step all the same."""
    policy = Longwinded()
    result = await solve(policy, Twigs(levels=1), scorer=SeededScorer(), max_completion_tokens=2 * STEP_TOKENS)
    assert [bill.generated for bill in policy.bills] == [STEP_TOKENS, STEP_TOKENS, 10, 10, 1]
    assert len({call[0] for call in policy.calls}) == 5
    assert len(events(result, Paused)) == 2
    assert result.choices[0].tokens == STEP_TOKENS + 11


async def cut(budget: int, seed: int, **more: Any) -> SearchResult:
    """A tree that `budget` policy tokens are far too few for."""
    tree, limit = Twigs(levels=9), {"policy_tokens": budget}
    return await solve(SeededPolicy(depth=9), tree, scorer=SeededScorer(), budget=limit, seed=seed, **more)


async def test_steps_leave_enough_to_finish_one_solution() -> None:
    """A part of the budget stays for endings; it is the most promising beginning that gets it first."""
    result = await cut(80, seed=1)
    assert result.stopped_by == "policy_tokens"
    assert result.choices[0].answer is not None
    assert result.usage.policy.kept + result.usage.policy.discarded <= 80


def greedy_ends(result: SearchResult) -> list[Path]:
    """The places at which a beginning was to be written to its end."""
    wished = [record.action for record in records_of(result) if isinstance(record, Wished)]
    return [action.node for action in wished if isinstance(action, Sample) and action.max_steps is None]


@pytest.mark.parametrize("seed", range(4))
async def test_a_tree_that_is_cut_has_several_whole_solutions(seed: int) -> None:
    """As many of its beginnings as the rest of the budget has room for are written to their ends, and shown."""
    result = await cut(200, seed)
    ends = greedy_ends(result)
    written = {event.node: event.text for event in events(result, Ended) if event.node in ends and event.answer}
    assert len(written) > 1
    assert set(written.values()) <= {candidate.text for candidate in result.candidates}
    assert result.stopped_by == "policy_tokens"
    assert result.usage.policy.kept + result.usage.policy.discarded <= 200


@pytest.mark.parametrize(("budget", "cap", "left"), [(200, 60, 50), (100, 60, 30), (60, 4000, 30)])
async def test_single_steps_leave_some_of_the_budget(budget: int, cap: int, left: int) -> None:
    """A quarter, or half of a solution's cap where that is more, but never more than half of the budget."""
    result = await cut(budget, seed=3, max_completion_tokens=cap)
    ends = greedy_ends(result)
    spent = {record.node: len(record.token_ids) for record in records_of(result) if isinstance(record, Grown)}
    assert {event.node for event in events(result, Ended)} - set(ends)
    assert budget - left - 10 < sum(tokens for path, tokens in spent.items() if path not in ends) <= budget - left
    assert sum(tokens for path, tokens in spent.items() if path in ends) > 0


async def test_without_a_budget_nothing_is_kept_back() -> None:
    """The tree is grown to the end."""
    result = await solve(SeededPolicy(depth=4), Twigs(levels=4), scorer=SeededScorer())
    assert (result.stopped_by, greedy_ends(result)) == ("completed", [])


async def test_tokens_of_a_solution_are_those_of_its_path() -> None:
    """Kept is what the chosen one took to write, the steps that it shares with others included."""
    result = await solve(SeededPolicy(), Twigs(), scorer=SeededScorer())
    words = result.choices[0].text.replace("\n\n", " \n\n ").split(" ")
    assert result.choices[0].tokens == result.usage.policy.kept
    assert result.usage.policy.kept == 2 * len(words) - 1 - 2 * result.choices[0].text.count("\n\n")
