import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.cli.branches import branches
from service.cli.lives import Life, lives
from service.cli.own import built, own_strategy
from service.cli.timeline import UNSCORED, WIDTH, line
from service.cli.trace_file import write_trace
from service.library import BoxedReader, ScriptedPolicy, ScriptedScorer, SearchResult, read_trace, solve
from service.search.scripted import SeededPolicy, SeededScorer
from service.search.trace import Grown
from tests.service.cli.own_pieces import MODULE
from tests.service.search.every_strategy import TREES

RUNNER = CliRunner()
GOOD = "Ok one.\n\nOk two.\n\nSo \\boxed{4}."
BAD = "Bad one.\n\n" + "word " * 60 + "\n\nSo \\boxed{5}."
MUTE = "Ok one.\n\nI give up."
SCORES = {
    "Ok one.": 0.9,
    "Ok two.": 0.8,
    "So \\boxed{4}.": 0.8,
    "Bad one.": 0.1,
    "So \\boxed{5}.": 0.1,
    "I give up.": 0.5,
}


async def searched(file: Path, *solutions: str, **options: Any) -> SearchResult:
    """Search with scripted engines, the step scores those of the table, and write the trace to `file`."""
    options = {"reward": ScriptedScorer(SCORES), "strategy": {"name": "best_of_n", "samples": len(solutions)}} | options
    policy = ScriptedPolicy(solutions)
    found = await solve("2 + 2 = ?", policy=policy, reader=BoxedReader(), trace=True, **options)
    assert found.trace is not None
    write_trace(file, found.trace)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the trace is."""
    return tmp_path / "trace.jsonl"


def replayed(file: Path, *options: str) -> str:
    """What `mull replay` prints in 80 columns, less the blanks at the ends of lines."""
    run = RUNNER.invoke(app, ["replay", str(file), *options], env={"COLUMNS": "80"})
    assert run.exit_code == 0, run.output
    return "\n".join(text.rstrip() for text in run.stdout.split("\n"))


async def test_the_result_is_the_searchs_own(file: Path) -> None:
    """To the last token and score; only the clock's rounding differs."""
    found = await searched(file, GOOD, BAD, GOOD, MUTE, score={"select": "best"})
    again = SearchResult.model_validate_json(replayed(file, "--json"))
    assert again.model_copy(update={"seconds": 0.0}) == found.model_copy(update={"seconds": 0.0, "trace": None})


async def test_every_candidate_has_a_line_that_says_how_it_ended(file: Path) -> None:
    """With an answer, without one, or stopped because it could not win any more; nothing is wider than 80 columns."""
    await searched(file, GOOD, BAD, MUTE, score={"select": "best"})
    text = replayed(file)
    assert text.startswith("2 + 2 = ?\nbest_of_n with policy: samples 3, select best, seed 0\n\nAnswer: 4")
    ends = dict(re.findall(r"^ +(▸ \d|\d) [ ·▁▂▃▄▅▆▇█┼]+ \d+ (.*)$", text, re.M))
    assert ends == {"▸ 0": "4", "1": "stopped: at most 0.10, best 0.80", "2": "no answer"}
    assert max(len(row) for row in text.splitlines()) <= 80


async def test_a_cap_on_tokens_is_told_from_an_early_stop(file: Path) -> None:
    """The one is the policy's limit, the other a saving."""
    await searched(file, GOOD, max_completion_tokens=3, strategy="sample", reward=None)
    assert "no answer, cut at its token cap" in " ".join(replayed(file).split())


async def test_what_was_not_finished_in_time_is_said(file: Path) -> None:
    """By the deadline's name."""
    slow = ScriptedPolicy([GOOD], pause=lambda: 0.02)
    options = {"reader": BoxedReader(), "trace": True, "strategy": "sample", "budget": {"deadline_ms": 150}}
    found = await solve("2 + 2 = ?", policy=slow, **options)
    write_trace(file, found.trace or ())
    assert "stopped: deadline" in replayed(file)


async def test_what_was_paid_before_stands_apart(file: Path) -> None:
    """In each candidate's tokens, and in the sum."""
    vote = {"name": "majority_vote", "samples": 1, "early_stop": "off"}
    first = await searched(file, GOOD, strategy=vote, reward=None)
    await searched(file, GOOD, GOOD, strategy=vote | {"samples": 2}, reward=None, continue_from=first.trace)
    text = replayed(file)
    assert " 0+11 " in text
    assert "paid before: policy tokens 11," in text
    assert [(life.tokens, life.before) for life in lives(read_trace(file))] == [(11, 11), (11, 0)]


async def test_all_tokens_are_somebodys(file: Path) -> None:
    """The lines' tokens add up to the bill, those of stopped candidates included."""
    found = await searched(file, GOOD, BAD, GOOD, score={"select": "best"})
    drawn = lives(read_trace(file))
    assert sum(life.tokens for life in drawn) == found.usage.policy.kept + found.usage.policy.discarded
    assert any(isinstance(record, Grown) for record in read_trace(file))


@pytest.mark.parametrize("name", TREES)
async def test_a_tree_is_drawn_with_all_its_nodes(file: Path, name: str) -> None:
    """For every strategy that searches over steps; nothing is wider than 80 columns, and all tokens are somebody's."""
    policy, scorer = SeededPolicy(), SeededScorer()
    options: dict[str, Any] = {"reward": scorer, "strategy": TREES[name], "reader": BoxedReader(), "trace": True}
    found = await solve("2 + 2 = ?", policy=policy, **options)
    write_trace(file, found.trace or ())
    text = replayed(file, "--all")
    drawn = [row for row in text.splitlines() if re.match(r"[ │┃]*[├└┣┗]", row)]
    root = branches(read_trace(file))
    assert len(drawn) == len(list(root.walk())) - 1
    assert any("▸" in row and f"= {found.choices[0].answer}" in row for row in drawn)
    assert max(len(row) for row in text.splitlines()) <= 80
    tokens = found.usage.policy.kept + found.usage.policy.discarded
    assert sum(branch.tokens for branch in root.walk()) == tokens


async def test_a_long_list_of_candidates_is_cut(file: Path) -> None:
    """It says by how much, and --all leaves nothing out."""
    vote = {"name": "majority_vote", "samples": 34, "early_stop": "off"}
    await searched(file, *[GOOD] * 34, strategy=vote, reward=None)
    assert "… and 2 more: --all shows them" in replayed(file)
    assert re.search(r"^ +33 ", replayed(file, "--all"), re.M)


def test_steps_stand_where_they_were_written() -> None:
    """On an axis from the beginning to the end, each as high as its score."""
    life = Life((0,), asked=0.0, steps=[0.0, 5.0, 9.99], scores={0: 0.99, 1: 0.01}, over=9.99)
    drawn = line(life, seconds=10.0).plain
    assert len(drawn) == WIDTH
    assert (drawn[0], drawn[WIDTH // 2], drawn[-1]) == ("█", "▁", UNSCORED)
    assert set(drawn[1 : WIDTH // 2]) == {"·"}


def test_no_step_hides_another() -> None:
    """Three steps of one moment are three marks; a search that took no time at all is drawn too."""
    assert line(Life((0,), 1.0, steps=[1.0, 1.0, 1.0], over=1.0), seconds=4.0).plain == " " * 8 + UNSCORED * 3
    assert line(Life((0,), 0.0, steps=[0.0, 0.0], over=0.0), seconds=0.0).plain == UNSCORED * 2


async def test_a_strategy_of_the_users_own_needs_its_class(file: Path, tmp_path: Path) -> None:
    """With it the trace is replayed, without it the error asks for it."""
    my = tmp_path / "my.py"
    my.write_text(MODULE)
    own = built(own_strategy(f"{my}:Mine"), {"name": "mine"})
    await searched(file, GOOD, BAD, strategy=own, reward=None)
    assert "mine with policy" in replayed(file, "--strategy", f"{my}:Mine")
    run = RUNNER.invoke(app, ["replay", str(file)])
    assert run.exit_code == 1
    assert "Give its class: --strategy my.py:Mine" in run.stderr


async def test_a_trace_that_was_tampered_with_is_refused(file: Path) -> None:
    """Had the second candidate scored better, it would not have been stopped."""
    await searched(file, GOOD, BAD, score={"select": "best"})
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    better = [
        data | {"scores": [1.0]} if data.get("event") == "Scored" and data["node"] == [1] else data for data in lines
    ]
    write_trace(file, better)
    run = RUNNER.invoke(app, ["replay", str(file)])
    assert run.exit_code == 1
    assert "The strategy has changed since the trace was written" in run.stderr
