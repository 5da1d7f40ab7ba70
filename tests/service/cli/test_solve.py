import json

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


def test_json_is_the_gateways_own_body(app: typer.Typer, gateway: FakeGateway) -> None:
    """Nothing else stands on stdout."""
    run = RUNNER.invoke(app, ["How many?", "--json"])
    assert json.loads(run.stdout) == completion("35", candidates=[candidate("35", (0.9, 0.8))])


def test_an_error_is_one_line_and_exit_code_1(app: typer.Typer, gateway: FakeGateway) -> None:
    """The gateway's own words, on stderr."""
    gateway.answer = lambda question, body: failure(400, "samples is at most 256.", "InvalidRequest")
    run = RUNNER.invoke(app, ["How many?", "--samples", "9999"])
    assert run.exit_code == 1
    assert run.stdout == ""
    assert run.stderr == "samples is at most 256.\n"


def test_no_gateway_says_mull_up(app: typer.Typer) -> None:
    """Nothing listens on port 9 of this machine."""
    run = RUNNER.invoke(app, ["How many?", "--url", "http://127.0.0.1:9"])
    assert run.exit_code == 1
    assert run.stderr == "No gateway answers at http://127.0.0.1:9. Start one with `mull up`.\n"
