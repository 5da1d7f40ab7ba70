import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service import library
from service.cli import app, here
from service.library import BoxedReader, PolicySettings, ScriptedPolicy
from tests.service.cli.own_pieces import MODULE, SOLUTIONS

RUNNER = CliRunner()
POLICY_URL = "MULL_POLICIES__TINY_POLICY__URL"


@pytest.fixture
def policies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ScriptedPolicy]:
    """Scripted engines in the place of the configured ones; the policies of all searches so far."""
    made: list[ScriptedPolicy] = []

    async def solve(question: Any, *, policy: Any, reward: Any, **options: Any) -> Any:
        assert isinstance(policy, PolicySettings)
        made.append(ScriptedPolicy(SOLUTIONS))
        return await library.solve(question, policy=made[-1], reward=reward, reader=BoxedReader(), **options)

    monkeypatch.setattr(here, "solve", solve)
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(POLICY_URL, "http://127.0.0.1:9")
    return made


@pytest.fixture
def my(tmp_path: Path) -> Path:
    """A file with a strategy and a reward model."""
    file = tmp_path / "my.py"
    file.write_text(MODULE)
    return file


@pytest.fixture
def recorded(policies: list[ScriptedPolicy], my: Path, tmp_path: Path) -> Path:
    """The trace of a search of two samples with the user's own strategy."""
    trace = tmp_path / "two.jsonl"
    run = RUNNER.invoke(app, ["solve", "2 + 2 = ?", "--strategy", f"{my}:Mine", "--seed", "0", "--trace", str(trace)])
    assert run.exit_code == 0, run.output
    return trace


def test_a_strategy_of_the_users_own_is_run(policies: list[ScriptedPolicy], my: Path) -> None:
    """With the parameters that it has, and without a gateway."""
    run = RUNNER.invoke(app, ["solve", "2 + 2 = ?", "--strategy", f"{my}:Mine", "--samples", "3"])
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("Answer: 3")
    assert "cache" not in run.stdout
    assert len(policies[0].calls) == 3


def test_a_reward_model_of_the_users_own_scores(policies: list[ScriptedPolicy], my: Path) -> None:
    """best_of_n asks it for each step."""
    options = ["--reward", f"{my}:MyPRM", "--samples", "2", "--select", "best", "--steps", "last", "--json"]
    run = RUNNER.invoke(app, ["solve", "2 + 2 = ?", *options])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["usage"]["reward"]["submitted"] == 4
    assert found["choices"][0]["scores"] == [0.23, 0.13]
    assert "trace" not in found


def test_a_recorded_search_goes_on(policies: list[ScriptedPolicy], my: Path, recorded: Path) -> None:
    """Question, strategy and seed are the trace's; two more samples are all that is written and paid."""
    options = ["--continue", str(recorded), "--strategy", f"{my}:Mine", "--samples", "4"]
    run = RUNNER.invoke(app, ["solve", *options])
    assert run.exit_code == 0, run.output
    assert len(policies[1].calls) == 2
    assert "paid before: policy tokens 26," in run.stdout
    assert "paid now:    policy tokens 20," in run.stdout


def test_the_class_of_a_recorded_strategy_is_needed(policies: list[ScriptedPolicy], recorded: Path) -> None:
    """A trace has its parameters, not its rules."""
    run = RUNNER.invoke(app, ["solve", "--continue", str(recorded), "--samples", "4"])
    assert run.exit_code == 1
    assert "'mine', which is not one of Mull's own. Give its class: --strategy my.py:Mine." in run.stderr


def test_a_question_that_differs_from_the_traces_is_refused(
    policies: list[ScriptedPolicy], my: Path, recorded: Path
) -> None:
    """It would be another search."""
    run = RUNNER.invoke(app, ["solve", "3 + 3 = ?", "--continue", str(recorded), "--strategy", f"{my}:Mine"])
    assert run.exit_code == 1
    assert "another messages" in run.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--url", "http://127.0.0.1:9"], "Leave --url out"),
        (["--economy"], "mine has no parameter 'economy'"),
        (["--set", "beams=2"], "mine has no parameter 'beams'. Known: samples."),
        (["--select", "best"], "mine uses no scores"),
        (["--model", "large"], "no model 'large'"),
        (["--trace", "/no/such/folder/trace.jsonl"], "No trace can be written"),
    ],
)
def test_options_without_effect_are_refused(
    policies: list[ScriptedPolicy], my: Path, options: list[str], said: str
) -> None:
    """Before anything is asked of an engine."""
    run = RUNNER.invoke(app, ["solve", "2 + 2 = ?", "--strategy", f"{my}:Mine", *options])
    assert run.exit_code == 1
    assert said in run.stderr
    assert [policy.calls for policy in policies] in ([], [[]])


def test_a_reward_model_that_nobody_asks_is_refused(policies: list[ScriptedPolicy], my: Path) -> None:
    """A vote needs none."""
    run = RUNNER.invoke(app, ["solve", "?", "--strategy", "majority_vote", "--reward", f"{my}:MyPRM"])
    assert run.exit_code == 1
    assert "Leave --reward out" in run.stderr


def test_engines_that_do_not_run_are_named(
    policies: list[ScriptedPolicy], my: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both ways to get them."""
    monkeypatch.delenv(POLICY_URL)
    run = RUNNER.invoke(app, ["solve", "?", "--strategy", f"{my}:Mine"])
    assert run.exit_code == 1
    assert "tiny-policy has no url and does not run here. Start it with `mull up`, or say in mull.yaml" in run.stderr


def test_a_question_is_needed(policies: list[ScriptedPolicy], my: Path) -> None:
    """Unless a trace has it."""
    run = RUNNER.invoke(app, ["solve", "--strategy", f"{my}:Mine"])
    assert run.exit_code == 1
    assert run.stderr == "There is no question. Write it behind `mull solve`.\n"
