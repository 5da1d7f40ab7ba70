import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app

LABELLED = Path(__file__).parents[3] / "models" / "processbench.jsonl"
RUNNER = CliRunner()

pytestmark = pytest.mark.stack


def test_given_solutions_are_scored_by_the_stacks_reward_model(stack: Any, tmp_path: Path) -> None:
    """Also by its URL, to the same scores; the engine's bill is told."""
    file = tmp_path / "few.jsonl"
    file.write_text("".join(LABELLED.read_text().splitlines(keepends=True)[:6]))
    here = RUNNER.invoke(app, ["reward", "score", str(file)], env=stack.environment)
    there = RUNNER.invoke(app, ["reward", "score", str(file), "--reward-url", stack.reward_url, "--preset", "tiny"])
    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    for line, again in zip(here.stdout.splitlines(), there.stdout.splitlines(), strict=True):
        scored = json.loads(line)
        assert len(scored["scores"]) == len(scored["steps"])
        assert scored["scores"] == pytest.approx(json.loads(again)["scores"], abs=1e-4)
    assert "Reward tokens: 0 submitted" not in here.stderr


@pytest.mark.parametrize("options", [[], ["--math-only"], ["--source", "mean_logprob"]])
def test_judges_of_the_stack_are_measured(stack: Any, options: list[str]) -> None:
    """Every solution is scored, and there is something to be told apart."""
    run = RUNNER.invoke(
        app, ["reward", "bench", str(LABELLED), "--limit", "12", "--json", *options], env=stack.environment
    )
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert (found["solutions"], found["not_scored"]) == (12, {})
    assert 0 < found["auc"] <= 1
    assert found["reward_tokens"]["submitted"] > 0
