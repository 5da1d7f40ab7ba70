"""Looking on at a search over scripted engines."""

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RIGHT, SCORES, WRONG

from service.search import watch as watch_side
from service.search.driver import Engines
from service.search.progress import Interest, Progress, SearchEvent
from service.search.request import SearchRequest, SearchResult
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.search import search
from service.search.slots import Slots
from service.search.steps import StepSplitter
from service.search.watch import Watch
from service.settings import PolicySettings, StepForm

ALL = Interest(text=True, standing=True, events=True)
BEST = {"name": "best_of_n", "samples": 3, "early_stop": "off"}


def begin(watch: Watch, policy: ScriptedPolicy, strategy: dict[str, Any], **more: Any) -> "asyncio.Task[SearchResult]":
    """Start a search that `watch` looks on at."""
    asked = {"model": "scripted", "prompt": "what is one plus one", "strategy": strategy, **more}
    return asyncio.create_task(
        search(
            SearchRequest.model_validate(asked),
            deadline_s=5,
            settings=PolicySettings(model="scripted"),
            engines=Engines(policy, Slots(64), BoxedReader(), ScriptedScorer(SCORES), Slots(64)),
            watch=watch,
        )
    )


async def watched(
    solutions: list[str], strategy: dict[str, Any], interest: Interest = ALL, pause: float = 0.001
) -> tuple[list[Progress], SearchResult]:
    """Everything that one search tells, and its result."""
    watch = Watch(interest)
    searching = begin(watch, ScriptedPolicy(solutions, pause=lambda: pause), strategy)
    told = [progress async for progress in watch.deliveries(searching)]
    return told, await searching


def events(told: list[Progress]) -> list[SearchEvent]:
    """All events, in order."""
    return [event for progress in told for event in progress.events]


async def test_every_step_score_and_end_is_told_once() -> None:
    """Of three candidates with two steps each; the numbers have no gap, and time does not run back."""
    told, _ = await watched([WRONG, WRONG, RIGHT], BEST)
    found = events(told)
    kinds = [event.type for event in found]
    assert (kinds.count("step"), kinds.count("ended")) == (6, 3)
    scored = [event for event in found if event.type == "scored"]
    assert sorted((event.node, event.first + i) for event in scored for i in range(len(event.scores))) == [
        ((candidate,), step) for candidate in range(3) for step in range(2)
    ]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert all(one.at <= next_one.at for one, next_one in pairwise(found))


async def test_the_last_that_is_told_is_the_result() -> None:
    """Votes, the best candidate and what was spent are at last those of the result."""
    told, result = await watched([WRONG, WRONG, RIGHT], BEST)
    last = {event.type: event for event in events(told)}
    votes, best, spent = last["vote"], last["best_so_far"], last["spent"]
    assert votes.type == "vote"
    assert votes.votes == result.votes
    assert best.type == "best_so_far"
    assert (best.node, best.answer, best.score) == ((2,), result.choices[0].answer, result.choices[0].score)
    assert spent.type == "spent"
    assert spent.policy_tokens == result.usage.policy.kept + result.usage.policy.discarded
    assert spent.reward_tokens == result.usage.reward.submitted
    standing = told[-1].standing
    assert standing is not None
    assert (standing.begun, standing.steps, standing.ended, standing.answer, standing.votes) == (3, 6, 3, "2", 1)


async def test_what_is_given_up_is_told() -> None:
    """A majority that is decided prunes the rest."""
    told, result = await watched(
        [RIGHT, RIGHT, "one plus one\n\nis " + "so " * 200], {"name": "majority_vote", "samples": 3}
    )
    assert result.stopped_by == "decided"
    assert [event.node for event in events(told) if event.type == "pruned"] == [(2,)]


async def test_nobody_is_told_what_was_not_asked_for() -> None:
    """An interest in text brings text alone."""
    told, result = await watched([RIGHT], {"name": "sample"}, Interest(text=True))
    assert {(progress.standing, progress.events) for progress in told} == {(None, ())}
    assert "".join(progress.text for progress in told) == result.choices[0].text


async def test_text_comes_before_its_step_is_complete(monkeypatch: Any) -> None:
    """A slow policy's words are told one by one."""
    monkeypatch.setattr(watch_side, "TEXT_PACE_S", 0.0)
    told, _ = await watched(["one two three \\boxed{2}"], {"name": "greedy"}, Interest(text=True), pause=0.01)
    assert len(told) >= 4
    assert told[0].text == "one"


async def test_unread_events_do_not_pile_up(monkeypatch: Any) -> None:
    """A reader who comes late is told the latest ones; the gap in the numbers says how many were dropped."""
    monkeypatch.setattr(watch_side, "MOST_UNREAD", 5)
    watch = Watch(Interest(events=True))
    searching = begin(watch, ScriptedPolicy([WRONG, WRONG, RIGHT]), BEST)
    await searching
    told = [progress async for progress in watch.deliveries(searching)]
    found = [event for event in events(told) if event.type not in ("vote", "best_so_far", "spent")]
    assert len(found) == 5
    assert found[0].sequence_number > 0
    assert found[-1].type in ("scored", "ended")


async def test_search_that_fails_ends_what_is_told() -> None:
    """Whoever looks on is not left waiting; the failure is the search's to raise."""
    watch = Watch(ALL)
    searching = begin(watch, ScriptedPolicy([RIGHT]), {"name": "sample"}, max_completion_tokens=10**6)
    assert [progress async for progress in watch.deliveries(searching)] == []
    assert searching.exception() is not None


PIECES = st.sampled_from([*"ab \n#S}{", "\\boxed{1}", "\n\n", "<think>", "</thi", "nk>", "\n## Step 1"])


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(PIECES, max_size=25), thinking=st.sampled_from(["tags", "opened", "steps"]))
def test_settled_text_is_never_taken_back(pieces: list[str], thinking: Any) -> None:
    """However a stream comes in pieces, what has been settled is the beginning of what is settled later and at last."""
    splitter = StepSplitter(StepForm(thinking=thinking, headings=("## Step N",)))
    settled = [""]
    for piece in pieces:
        splitter.feed(piece)
        settled.append(splitter.settled)
    settled.append(splitter.text)
    assert all(later.startswith(earlier) for earlier, later in pairwise(settled))


async def test_what_is_committed_is_told_at_its_changes() -> None:
    """First what is set aside, at last what was spent and nothing set aside; never more than the limit."""
    watch = Watch(Interest(committed=True))
    budget = {"policy_tokens": 100, "reward_tokens": 1000}
    searching = begin(watch, ScriptedPolicy([WRONG, WRONG, RIGHT], pause=lambda: 0.01), BEST, budget=budget)
    told = [progress async for progress in watch.deliveries(searching)]
    result = await searching
    reports = [progress.committed for progress in told]
    first, last = reports[0], reports[-1]
    assert first is not None
    assert last is not None
    assert first.policy.reserved > 0
    assert (last.policy.reserved, last.reward.reserved) == (0, 0)
    assert last.policy.spent == result.usage.policy.kept + result.usage.policy.discarded
    assert last.reward.spent == result.usage.reward.submitted
    assert all(report is not None and report.policy.spent + report.policy.reserved <= 100 for report in reports)
    assert {(progress.text, progress.standing, progress.events) for progress in told} == {("", None, ())}
