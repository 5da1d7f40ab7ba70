import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from service.cli import solve
from service.cli.client import Client
from tests.service.cli.fake_gateway import FakeGateway, candidate, completion, failure

RUNNER = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    """`mull solve` alone."""
    app = typer.Typer()
    app.command()(solve.command)
    return app


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """A gateway that always finds 35."""
    gateway = FakeGateway(lambda question, body: completion("35", candidates=[candidate("35", (0.9, 0.8))]))
    monkeypatch.setattr(solve, "Client", lambda url: Client(url, transport=gateway.transport))
    return gateway


def test_the_answer_is_printed_with_its_solution(app: typer.Typer, gateway: FakeGateway) -> None:
    """Candidates are asked for, the options are sent on."""
    run = RUNNER.invoke(app, ["How many?", "--samples", "8", "--select", "best", "--steps", "last", "--seed", "5"])
    assert run.exit_code == 0
    assert "Answer: 35" in run.stdout
    assert "Step one." in run.stdout
    assert gateway.bodies[0]["seed"] == 5
    assert gateway.bodies[0]["mull"] == {
        "strategy": {"name": "best_of_n", "samples": 8},
        "score": {"select": "best", "steps": "last"},
        "include": ["candidates"],
    }


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("number", {"kind": "number"}),
        ("choice:yes, no", {"kind": "choice", "labels": ["yes", "no"]}),
        (r"regex:x: (\d+)", {"kind": "regex", "pattern": r"x: (\d+)"}),
    ],
)
def test_a_kind_of_answer_is_sent_on(app: typer.Typer, gateway: FakeGateway, given: str, sent: object) -> None:
    """With what it needs behind a colon, of which the parameter may have more."""
    assert RUNNER.invoke(app, ["How many?", "--answer", given]).exit_code == 0
    assert gateway.bodies[0]["mull"]["answer"] == sent


def test_a_kind_without_parameters_takes_none(app: typer.Typer, gateway: FakeGateway) -> None:
    """Nothing is dropped in silence."""
    run = RUNNER.invoke(app, ["How many?", "--answer", "number:3"])
    assert run.exit_code == 2
    assert gateway.bodies == []


def test_json_is_the_gateways_own_body(app: typer.Typer, gateway: FakeGateway) -> None:
    """Nothing else stands on stdout."""
    run = RUNNER.invoke(app, ["How many?", "--json"])
    assert json.loads(run.stdout) == completion("35", candidates=[candidate("35", (0.9, 0.8))])


def test_a_trace_is_asked_for_and_written(app: typer.Typer, gateway: FakeGateway, tmp_path: Path) -> None:
    """One record a line, as the gateway sent them."""
    records = [{"mull_trace": 1, "request": {}}, {"record": "stopped", "at": 0.5, "reason": "completed", "text": "½\n"}]
    gateway.answer = lambda question, body: completion("35", trace=records)
    file = tmp_path / "trace.jsonl"
    run = RUNNER.invoke(app, ["How many?", "--trace", str(file)])
    assert run.exit_code == 0
    assert gateway.bodies[0]["mull"]["include"] == ["candidates", "trace"]
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == records
    assert list(tmp_path.iterdir()) == [file]


def test_an_option_for_every_limit(app: typer.Typer, gateway: FakeGateway) -> None:
    """They reach the gateway as its budget, and the strategy's parameters as its own."""
    limits = ["--policy-tokens", "900", "--reward-tokens", "800", "--parallel", "4", "--deadline", "1.5"]
    run = RUNNER.invoke(app, ["?", "--strategy", "majority_vote", "--economy", "--early-stop", "exact", *limits])
    assert run.exit_code == 0
    assert gateway.bodies[0]["mull"]["budget"] == {
        "policy_tokens": 900,
        "reward_tokens": 800,
        "parallel": 4,
        "deadline_ms": 1500,
    }
    assert gateway.bodies[0]["mull"]["strategy"] == {"name": "majority_vote", "early_stop": "exact", "economy": True}


def test_any_parameter_of_a_strategy_can_be_set(app: typer.Typer, gateway: FakeGateway) -> None:
    """They reach the gateway as they are."""
    run = RUNNER.invoke(app, ["?", "--strategy", "beam_search", "--set", "beams=8", "--set", "mode=async"])
    assert run.exit_code == 0, run.output
    assert gateway.bodies[0]["mull"]["strategy"] == {"name": "beam_search", "beams": 8, "mode": "async"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "beam=8"], "beam_search has no parameter 'beam'. Known: beams, expansions, lookahead, mode.\n"),
        (["--set", "beams=0"], "beams of beam_search: Input should be greater than or equal to 1.\n"),
        (["--set", "beams=many"], "beams of beam_search: Input should be a valid integer"),
        (["--set", "beams=256", "--set", "expansions=256"], "beam_search: beams times expansions is 65536"),
        (["--samples", "4"], "beam_search has no parameter 'samples'. Known: beams,"),
        (["--strategy", "beams"], "There is no strategy 'beams'. Known: greedy, sample,"),
    ],
)
def test_parameters_out_of_bounds_are_refused(
    app: typer.Typer, gateway: FakeGateway, options: list[str], said: str
) -> None:
    """By the strategy itself, before anything is asked."""
    run = RUNNER.invoke(app, ["?", "--strategy", "beam_search", *options])
    assert run.exit_code == 1
    assert run.stderr.startswith(said)
    assert gateway.bodies == []


def test_an_error_is_one_line_and_exit_code_1(app: typer.Typer, gateway: FakeGateway) -> None:
    """The gateway's own words, on stderr."""
    gateway.answer = lambda question, body: failure(400, "samples is at most 256.", "InvalidRequest")
    run = RUNNER.invoke(app, ["How many?", "--samples", "512"])
    assert run.exit_code == 1
    assert run.stdout == ""
    assert run.stderr == "samples is at most 256.\n"


def test_no_gateway_says_mull_up(app: typer.Typer) -> None:
    """Nothing listens on port 9 of this machine."""
    run = RUNNER.invoke(app, ["How many?", "--url", "http://127.0.0.1:9"])
    assert run.exit_code == 1
    assert run.stderr == "No gateway answers at http://127.0.0.1:9. Start one with `mull up`.\n"
