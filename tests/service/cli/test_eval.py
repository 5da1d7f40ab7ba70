import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from service.cli import eval as evaluating
from service.cli.client import Client
from tests.service.cli.fake_gateway import FakeGateway, completion, failure

RUNNER = CliRunner()
Run = Callable[..., Any]


@pytest.fixture
def app() -> typer.Typer:
    """`mull eval` alone."""
    app = typer.Typer()
    app.command()(evaluating.command)
    return app


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Five problems whose answer is their number."""
    file = tmp_path / "problems.jsonl"
    lines = [json.dumps({"id": f"p{i}", "problem": f"Say {i}", "answer": str(i)}) for i in range(5)]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """A gateway that is right from four samples on, or where the number is even."""

    def answer(question: str, body: dict[str, Any]) -> dict[str, Any] | httpx.Response:
        number, samples = int(question.split()[1]), body["mull"]["strategy"].get("samples", 1)
        return completion(str(number) if samples >= 4 or number % 2 == 0 else "99")

    gateway = FakeGateway(answer)
    monkeypatch.setattr(evaluating, "Client", lambda url: Client(url, transport=gateway.transport))
    return gateway


def test_every_question_is_searched_anew(app: typer.Typer, problems: Path, gateway: FakeGateway) -> None:
    """What earlier searches have left would be measured as well; nor is anything left to later ones."""
    assert RUNNER.invoke(app, [str(problems)]).exit_code == 0
    assert [headers["cache-control"] for headers in gateway.headers] == ["no-store"] * 5


def test_json_is_all_that_stands_on_stdout(app: typer.Typer, problems: Path, gateway: FakeGateway) -> None:
    """One object, with a result per number of samples."""
    run = RUNNER.invoke(app, [str(problems), "--samples", "1,4", "--json"])
    assert run.exit_code == 0
    report = json.loads(run.stdout)
    assert report["questions"] == 5
    assert report["model"] == "tiny"
    assert [(r["samples"], r["accuracy"], r["errors"]) for r in report["results"]] == [(1, 0.6, 0), (4, 1.0, 0)]
    assert report["results"][0]["interval_95"] == pytest.approx([0.2307, 0.8824], abs=1e-4)
    assert report["results"][0]["policy_tokens"] == 100
    assert report["results"][0]["reward_tokens"] == 400


def test_the_table_shows_accuracy_with_its_interval(app: typer.Typer, problems: Path, gateway: FakeGateway) -> None:
    """Readable within 80 columns."""
    run = RUNNER.invoke(app, [str(problems), "--samples", "1,4", "--limit", "4"])
    assert run.exit_code == 0
    assert "best_of_n with tiny on the first 4 problems" in run.stdout
    row = next(line for line in run.stdout.splitlines() if line.strip().startswith("1 "))
    assert row.split() == ["1", "50.0%", "15.0%", "to", "85.0%", "100", "400", "0.50", "0"]
    table = [line for line in run.stdout.splitlines() if "problems.jsonl" not in line]
    assert max(len(line) for line in table) <= 80


def test_failures_are_counted_apart_and_end_in_exit_code_1(
    app: typer.Typer, problems: Path, gateway: FakeGateway
) -> None:
    """With --json too stdout stays one object; the message goes to stderr."""
    right = gateway.answer
    gateway.answer = lambda question, body: (
        failure(503, "The policy is down.", "EngineUnavailable") if question == "Say 2" else right(question, body)
    )
    run = RUNNER.invoke(app, [str(problems), "--samples", "4", "--json"])
    assert run.exit_code == 1
    result = json.loads(run.stdout)["results"][0]
    assert (result["replied"], result["errors"], result["accuracy"]) == (4, 1, 1.0)
    assert "samples 4: 1 times: The policy is down. (first: p2)" in run.stderr


def test_everything_failing_is_no_accuracy(app: typer.Typer, problems: Path, gateway: FakeGateway) -> None:
    """Neither 0 % nor 100 %."""
    gateway.answer = lambda question, body: failure(400, "No such strategy.", "InvalidRequest")
    run = RUNNER.invoke(app, [str(problems), "--samples", "4"])
    assert run.exit_code == 1
    assert "none" in run.stdout
    assert "5 of 5 questions failed" in run.stdout


def test_cached_answers_are_said_and_their_seconds_left_out(
    app: typer.Typer, problems: Path, gateway: FakeGateway
) -> None:
    """A time from the cache is not a time of the search."""
    gateway.cache = "hit"
    run = RUNNER.invoke(app, [str(problems), "--json"])
    result = json.loads(run.stdout)["results"][0]
    assert (result["cached"], result["seconds"], result["policy_tokens"]) == (5, None, 100)
    assert "5 answers came from the cache" in RUNNER.invoke(app, [str(problems)]).stdout


def test_one_candidate_strategies_send_no_number_of_samples(
    app: typer.Typer, problems: Path, gateway: FakeGateway
) -> None:
    """`greedy` has none; asking for four is refused before anything is asked."""
    assert RUNNER.invoke(app, [str(problems), "--strategy", "greedy"]).exit_code == 0
    assert gateway.bodies[0]["mull"]["strategy"] == {"name": "greedy"}
    asked = len(gateway.bodies)
    assert RUNNER.invoke(app, [str(problems), "--strategy", "greedy", "--samples", "1,4"]).exit_code == 2
    assert len(gateway.bodies) == asked


def test_a_strategy_without_samples_is_asked_once(app: typer.Typer, problems: Path, gateway: FakeGateway) -> None:
    """With the parameters that are set; its count says how many candidates it has."""
    options = ["--strategy", "beam_search", "--set", "beams=2", "--set", "expansions=3"]
    run = RUNNER.invoke(app, [str(problems), *options, "--json"])
    assert run.exit_code == 0, run.output
    assert gateway.bodies[0]["mull"]["strategy"] == {"name": "beam_search", "beams": 2, "expansions": 3}
    report = json.loads(run.stdout)
    assert report["parameters"] == {"beams": 2, "expansions": 3}
    assert [result["samples"] for result in report["results"]] == [6]
    assert "beam_search, beams 2, expansions 3 with tiny on" in RUNNER.invoke(app, [str(problems), *options]).stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategy", "beam_search", "--samples", "4"], "no number of samples"),
        (["--strategy", "beam_search", "--set", "beam=4"], "no parameter 'beam'"),
        (["--strategy", "guess"], "no strategy 'guess'"),
        (["--samples", "4,2000"], "less than or equal to 1024"),
        (["--set", "samples=4"], "--samples"),
    ],
)
def test_what_a_strategy_does_not_have_is_refused(
    app: typer.Typer, problems: Path, gateway: FakeGateway, options: list[str], said: str
) -> None:
    """Once, and not per question."""
    run = RUNNER.invoke(app, [str(problems), *options], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert said in run.stderr
    assert gateway.bodies == []


@pytest.mark.parametrize("samples", ["0", "four", "4,", "4,4", "-1"])
def test_bad_numbers_of_samples_are_refused(
    app: typer.Typer, problems: Path, gateway: FakeGateway, samples: str
) -> None:
    """With exit code 2, and nothing asked."""
    assert RUNNER.invoke(app, [str(problems), f"--samples={samples}"]).exit_code == 2
    assert gateway.bodies == []


def test_a_bad_file_is_told_by_line(app: typer.Typer, tmp_path: Path, gateway: FakeGateway) -> None:
    """With exit code 2, on stderr."""
    file = tmp_path / "bad.jsonl"
    file.write_text('{"id": 1}\n')
    run = RUNNER.invoke(app, [str(file), "--json"])
    assert run.exit_code == 2
    assert run.stdout == ""
    assert 'line 1: "problem" is missing' in run.stderr


def test_no_gateway_is_one_line_that_says_mull_up(app: typer.Typer, problems: Path) -> None:
    """Nothing listens on port 9 of this machine."""
    run = RUNNER.invoke(app, [str(problems), "--url", "http://127.0.0.1:9"])
    assert run.exit_code == 1
    assert run.stderr.count("\n") == 1
    assert "mull up" in run.stderr
