import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli import app

HELD_OUT = Path(__file__).parents[3] / "models" / "heldout.jsonl"
QUESTION = "Al has 12 pens. Bo has 5 more pens than Al. How many pens does Bo have?"
RUNNER = CliRunner()

pytestmark = pytest.mark.stack


def test_solve_shows_every_candidate_with_a_score_per_step(stack: Any) -> None:
    """The votes' shares add up to one, scores are probabilities, and every candidate is there."""
    run = RUNNER.invoke(app, ["solve", QUESTION, "--samples", "4", "--json", "--url", stack.gateway_url])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)["mull"]
    assert len(found["candidates"]) == 4
    scores = [score for candidate in found["candidates"] for score in candidate["scores"]]
    assert scores
    assert all(0 <= score <= 1 for score in scores)
    assert sum(vote["share"] for vote in found["votes"]) == pytest.approx(1)
    assert sum(c["tokens"] for c in found["candidates"]) == sum(
        found["usage"]["policy"][k] for k in ("kept", "discarded")
    )


def test_solve_is_readable(stack: Any) -> None:
    """The answer leads; no line is wider than a terminal of 80 columns."""
    run = RUNNER.invoke(app, ["solve", QUESTION, "--url", stack.gateway_url], env={"COLUMNS": "80"})
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("Answer: ")
    assert "Candidates, best first" in run.stdout
    assert max(len(line) for line in run.stdout.splitlines()) <= 80


def test_eval_measures_without_failures(stack: Any) -> None:
    """More samples cost more tokens; only scored strategies cost reward tokens; no question fails."""
    options = ["--samples", "1,4", "--limit", "4", "--json", "--url", stack.gateway_url]
    run = RUNNER.invoke(app, ["eval", str(HELD_OUT), *options])
    assert run.exit_code == 0, run.output
    one, four = json.loads(run.stdout)["results"]
    assert (one["errors"], four["errors"]) == (0, 0)
    assert 0 < one["policy_tokens"] < four["policy_tokens"]
    assert 0 < one["reward_tokens"] < four["reward_tokens"]


def test_an_error_of_the_gateway_reaches_the_terminal(stack: Any) -> None:
    """In its own words, and with exit code 1."""
    run = RUNNER.invoke(app, ["solve", QUESTION, "--samples", "100000", "--url", stack.gateway_url])
    assert run.exit_code == 1
    assert "samples" in run.stderr
