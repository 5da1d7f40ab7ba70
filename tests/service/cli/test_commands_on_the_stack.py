import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.library import Bill, ScoreSpec, Spec, solve
from strategies.flat import Flat
from strategies.protocol import Strategy
from strategies.selection import by_score

HELD_OUT = Path(__file__).parents[3] / "models" / "heldout.jsonl"
QUESTION = "Al has 12 pens. Bo has 5 more pens than Al. How many pens does Bo have?"
RUNNER = CliRunner()

pytestmark = pytest.mark.stack


def test_solve_shows_every_candidate_with_a_score_per_step(stack: Any) -> None:
    """The votes' shares add up to one, scores are probabilities, and every candidate is there."""
    options = ["--samples", "4", "--early-stop", "off", "--json", "--url", stack.gateway_url]
    run = RUNNER.invoke(app, ["solve", QUESTION, *options])
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


def test_a_trace_is_replayed_to_the_same_answer(stack: Any, tmp_path: Path) -> None:
    """Without engines: same answer, votes, candidates and bill as the gateway gave."""
    file = tmp_path / "trace.jsonl"
    options = ["--samples", "8", "--trace", str(file), "--json", "--url", stack.gateway_url]
    solved = RUNNER.invoke(app, ["solve", QUESTION, *options])
    assert solved.exit_code == 0, solved.output
    found = json.loads(solved.stdout)["mull"]
    replayed = RUNNER.invoke(app, ["replay", str(file), "--json"])
    assert replayed.exit_code == 0, replayed.output
    again = json.loads(replayed.stdout)
    assert again["choices"][0]["answer"] == found["answer"]
    assert again["votes"] == found["votes"]
    assert again["candidates"] == found["candidates"]
    assert {kind: again["usage"][kind] for kind in ("policy", "reward")} == found["usage"]
    drawn = RUNNER.invoke(app, ["replay", str(file)], env={"COLUMNS": "80"})
    assert max(len(line) for line in drawn.stdout.splitlines()) <= 80


def test_a_search_goes_on_and_pays_only_for_what_is_new(stack: Any, tmp_path: Path) -> None:
    """The gateway's two samples become four in this process, on the stack's engines: two more prompts are read."""
    file = tmp_path / "trace.jsonl"
    options = ["--samples", "2", "--early-stop", "off", "--trace", str(file), "--json", "--url", stack.gateway_url]
    two = RUNNER.invoke(app, ["solve", QUESTION, *options])
    assert two.exit_code == 0, two.output
    four = RUNNER.invoke(app, ["solve", "--continue", str(file), "--samples", "4", "--json"], env=stack.environment)
    assert four.exit_code == 0, four.output
    before, found = json.loads(two.stdout)["mull"], json.loads(four.stdout)
    assert len(found["candidates"]) == 4
    assert {c["text"] for c in before["candidates"]} <= {c["text"] for c in found["candidates"]}
    assert found["continued"]["policy"]["prompt"] == before["usage"]["policy"]["prompt"]
    assert found["continued"]["reward"] == before["usage"]["reward"]
    assert found["usage"]["policy"]["prompt"] == 2 * before["usage"]["policy"]["prompt"]
    tokens = [sum(c["tokens"] for c in candidates) for candidates in (before["candidates"], found["candidates"])]
    assert tokens == [_generated(before["usage"]), _generated(found["usage"])]
    assert tokens[0] == _generated(found["continued"]) < tokens[1]


def _generated(usage: dict[str, Any]) -> int:
    return int(usage["policy"]["kept"] + usage["policy"]["discarded"])


async def test_the_library_searches_on_the_stacks_engines(stack: Any) -> None:
    """By their URLs alone; the reward model's scores lie in [0, 1]."""
    found = await solve(QUESTION, policy=stack.policy_url, reward=stack.reward_url, budget={"parallel": 8})
    assert found.choices[0].answer is not None
    assert found.usage.policy.estimated is False
    assert all(0 <= score <= 1 for score in found.choices[0].scores)


class LongestFirst(Spec):
    """A strategy of one's own: of a few candidates, each step scored, the best."""

    name: Literal["longest_first"] = "longest_first"
    needs_scores = property(lambda self: True)
    candidates = property(lambda self: 3)

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        return Flat(3, by_score, scoring="mean")


class Longer:
    """A reward model of one's own: the longer a step, the better."""

    reads = "step"

    async def price(self, question: str, steps: Sequence[str], first: int) -> int:
        """It costs a token a step."""
        return len(steps) - first

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        """Score by length."""
        bill.prompt, bill.exact = len(steps) - first, True
        return tuple(min(1.0, len(step) / 200) for step in steps[first:])


async def test_a_strategy_and_a_reward_model_of_ones_own_run_on_the_stacks_policy(stack: Any) -> None:
    """The winner is the candidate whose steps are the longest on average; each step was paid for once."""
    found = await solve(QUESTION, policy=stack.policy_url, reward=Longer(), strategy=LongestFirst())
    answered = [c for c in found.candidates if c.answer is not None]
    assert found.choices[0].score == max(c.score for c in answered if c.score is not None)
    assert (
        len({(c.text, i) for c in found.candidates for i in range(len(c.scores))}) >= found.usage.reward.submitted > 0
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
