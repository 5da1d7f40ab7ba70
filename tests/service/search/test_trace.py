"""A trace tells all that happened: the search can be played again from it without engines."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
from every_strategy import EVERY
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_search import RIGHT, WRONG, records, solve

from service.errors import InvalidRequest
from service.search.replay import replay
from service.search.scripted import ScriptedPolicy, SeededPolicy, SeededScorer
from service.search.trace import Wished, from_lines, to_lines
from strategies.protocol import Sample


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(EVERY)),
    select=st.sampled_from(["best", "weighted_vote"]),
    policy_tokens=st.none() | st.integers(11, 100),
    reward_tokens=st.none() | st.integers(20, 200),
    order=st.integers(0, 2**32),
)
def test_a_replay_gives_the_same_result(
    name: str, select: str, policy_tokens: int | None, reward_tokens: int | None, order: int
) -> None:
    """Whatever was searched for, in whatever order things arrived: all of it is the same, usage too."""
    rng = random.Random(order)
    result = asyncio.run(
        solve(
            SeededPolicy(pause=lambda: rng.choice([0, 0, 0.0001])),
            EVERY[name],
            scorer=SeededScorer(pause=lambda: rng.choice([0, 0.0001])),
            budget={
                "policy_tokens": policy_tokens,
                "reward_tokens": reward_tokens,
                "parallel": rng.choice([1, 2, None]),
            },
            max_completion_tokens=11,
            score={"select": select},
            seed=order,
        )
    )
    again = replay(records(result))
    assert again == result.model_copy(update={"trace": None, "seconds": again.seconds})


async def test_a_search_that_was_stopped_by_its_deadline_replays_too() -> None:
    """What was there at the deadline is there again, and nothing more."""
    pauses = iter([0.0] * 11 + [60.0] * 11)
    policy = ScriptedPolicy([RIGHT, WRONG], pause=lambda: next(pauses))
    strategy = {"name": "majority_vote", "samples": 2, "early_stop": "off"}
    result = await solve(policy, strategy, deadline_s=0.2, budget={"parallel": 1})
    again = replay(records(result))
    assert (again.stopped_by, again.choices) == ("deadline", result.choices)


async def test_a_strategy_that_has_changed_is_found_out() -> None:
    """Where it wishes for something else than is written down, the line is named."""
    result = await solve(ScriptedPolicy([RIGHT]), {"name": "sample"})
    trace = records(result)
    first = next(i for i, record in enumerate(trace) if isinstance(record, Wished))
    trace[first] = replace(trace[first], action=Sample((7,)))
    with pytest.raises(InvalidRequest, match=f"Line {first + 1} "):
        replay(trace)


async def test_a_trace_is_lines_of_json() -> None:
    """One object a line, and nothing is lost on the way to text and back."""
    result = await solve(ScriptedPolicy([RIGHT]), {"name": "sample"})
    lines = list(to_lines(records(result)))
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(result.trace))
    assert list(from_lines(lines)) == records(result)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[1:], "not whole"),
        (lambda lines: lines[:-1], "not whole"),
        (lambda lines: [*lines[:2], "{oops", *lines[2:]], "Line 3 "),
        (lambda lines: [*lines[:2], '{"at": 1, "event": "Exploded"}', *lines[2:]], "Line 3 "),
        (lambda lines: [lines[0].replace('"mull_trace": 1', '"mull_trace": 99'), *lines[1:]], "format 99"),
        (lambda lines: [], "not whole"),
    ],
)
async def test_what_is_not_a_trace_is_refused(change, words: str) -> None:  # type: ignore[no-untyped-def]
    """The error names the line, or says what is missing."""
    result = await solve(ScriptedPolicy([RIGHT]), {"name": "sample"})
    with pytest.raises(InvalidRequest, match=words):
        from_lines(change(list(to_lines(records(result)))))


async def test_no_trace_is_sent_unless_it_is_asked_for() -> None:
    """It can be long."""
    assert (await solve(ScriptedPolicy([RIGHT]), {"name": "sample"}, trace=False)).trace is None
