"""Streams that an engine broke off, in a search with a scripted policy."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import records, solve

from service.errors import EngineError, EngineTimeout, EngineUnavailable
from service.search.broken_off import MOST
from service.search.ports import Bill, Chunk
from service.search.request import SearchResult
from service.search.scripted import ScriptedPolicy
from service.search.trace import Told
from strategies.protocol import Ended, Path

TEXTS = ["one and one is\n\nso \\boxed{2}", "two\n\nno \\boxed{3}", "it is\n\nwell \\boxed{2}"]
VOTE = {"name": "majority_vote", "samples": 3, "early_stop": "off"}


def ended(result: SearchResult) -> set[tuple[Path, str]]:
    """Return all candidates' texts."""
    events = [record.event for record in records(result) if isinstance(record, Told)]
    return {(event.node, event.text) for event in events if isinstance(event, Ended)}


def breaking() -> EngineError:
    return EngineUnavailable("the policy engine broke the connection off")


@dataclass
class Breaking(ScriptedPolicy):
    """Breaks each stream off after as many tokens as `after` says next, as long as it says any; the bill stays open."""

    after: Iterator[int] = field(default_factory=lambda: iter(()))
    failure: EngineError = field(default_factory=breaking)

    async def stream(self, prompt: tuple[int, ...], *, bill: Bill, **how: Any) -> AsyncGenerator[Chunk, None]:
        left = next(self.after, 10**6)
        writing = super().stream(prompt, bill=bill, **how)
        try:
            async for chunk in writing:
                if left == 0:
                    raise self.failure
                left -= 1
                yield chunk
        finally:
            await writing.aclose()
            bill.exact = left > 0


@given(st.lists(st.integers(0, 9), max_size=MOST))
@settings(deadline=None)  # how fast it is depends on the machine
async def test_the_texts_are_those_of_an_unbroken_search(after: list[int]) -> None:
    """Wherever streams break: what they have told stands, and they go on with the next token."""
    broken = await solve(Breaking(TEXTS, after=iter(after)), VOTE)
    whole = await solve(ScriptedPolicy(TEXTS), VOTE)
    assert [(c.text, c.key, c.finish_reason) for c in broken.choices] == [
        (c.text, c.key, c.finish_reason) for c in whole.choices
    ]
    assert ended(broken) == ended(whole)


async def test_what_was_lost_is_an_estimate() -> None:
    """The request that broke has told no bill: what was reserved for it counts, and the rest is exact."""
    result = await solve(Breaking(TEXTS, after=iter([2])), VOTE)
    assert result.usage.policy.estimated


@pytest.mark.parametrize("failure", [EngineError("status 401"), EngineTimeout("silent")])
async def test_a_failure_that_no_other_server_makes_good_ends_the_search(failure: EngineError) -> None:
    """At its first time."""
    failure.elsewhere = False
    policy = Breaking(TEXTS, after=iter([2]), failure=failure)
    with pytest.raises(type(failure)):
        await solve(policy, {**VOTE, "samples": 1})
    assert len(policy.calls) == 1


@pytest.mark.parametrize(
    "asked",
    [{"constraint": {"form": "regex", "text": ".*"}}, {"sampling": {"frequency_penalty": 1.0}}],
)
async def test_what_only_one_request_can_keep_to_does_not_go_on(asked: dict[str, Any]) -> None:
    """An engine does not begin in the middle of a grammar, and forgets what the candidate has had."""
    policy = Breaking(TEXTS, after=iter([0]))
    await solve(policy, {**VOTE, "samples": 1}, **asked)
    assert len(policy.calls) == 2
    policy = Breaking(TEXTS, after=iter([1]))
    with pytest.raises(EngineUnavailable):
        await solve(policy, {**VOTE, "samples": 1}, **asked)
    assert len(policy.calls) == 1


async def test_a_stream_goes_on_only_so_often() -> None:
    """One that breaks again and again ends the search with what the engine said."""
    policy = Breaking(TEXTS, after=iter([1] * 100))
    with pytest.raises(EngineUnavailable, match="broke"):
        await solve(policy, {**VOTE, "samples": 1})
    assert len(policy.calls) == MOST + 1


@pytest.mark.parametrize("written", [0, 2], ids=["nothing", "less than a step"])
async def test_a_budget_that_the_engine_used_up_is_its_failure(written: int) -> None:
    """What was reserved counts as spent, and there is nothing to show for it: the client hears of the engine."""
    policy = Breaking(TEXTS, after=iter([written]))
    with pytest.raises(EngineUnavailable, match="broke"):
        await solve(policy, {**VOTE, "samples": 1}, budget={"policy_tokens": 30}, max_completion_tokens=30)


async def test_requests_say_where_they_stand() -> None:
    """All of a question, each node of a search with its path; two searches have nothing in common but the question."""
    policy = ScriptedPolicy(TEXTS)
    for _ in range(2):
        await solve(policy, VOTE)
    places = [place for place in policy.places if place is not None]
    assert len({place.question for place in places}) == 1
    assert [place.trail[1:] for place in places] == [(0,), (1,), (2,)] * 2
    assert len({place.trail[0] for place in places}) == 2
