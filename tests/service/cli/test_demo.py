import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service.cli import demo
from service.cli.client import Client
from service.settings import Settings
from service.stack.processes import Pid
from service.stack.state import State, StateDir
from tests.service.cli.fake_gateway import URL, FakeGateway, completion, failure

RUNNER = CliRunner()


class FakeStack:
    """Notes whether it was started and stopped."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, settings: Settings, **options: Any) -> State:
        self.calls.append("start")
        return State(Pid.of(os.getpid()), URL, "")

    def stop(self, folder: Path, say: Any) -> bool:
        self.calls.append("stop")
        say("Stopping everything")
        return True


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder, named by the configuration."""
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """A gateway that says 35 to everything."""
    gateway = FakeGateway(lambda question, body: completion("35"))
    monkeypatch.setattr(demo, "Client", lambda url: Client(url, transport=gateway.transport))
    return gateway


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, state_dir: Path, gateway: FakeGateway) -> Iterator[FakeStack]:
    """A stack that starts at once."""
    stack = FakeStack()
    monkeypatch.setattr(demo, "start_detached", stack.start)
    monkeypatch.setattr(demo, "stop_stack", stack.stop)
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield stack
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def app() -> typer.Typer:
    """`mull demo` alone."""
    app = typer.Typer()
    app.command()(demo.command)
    return app


def test_the_last_line_is_json_after_the_stack_is_down(app: typer.Typer, stack: FakeStack) -> None:
    """A machine reads the last line, a person the rest."""
    run = RUNNER.invoke(app)
    assert run.exit_code == 0, run.output
    lines = run.stdout.strip().splitlines()
    assert lines[-2] == "Stopping everything"
    assert list(json.loads(lines[-1])) == [
        "accuracy_n1",
        "accuracy_greedy",
        "accuracy_n16",
        "questions",
        "policy_tokens",
        "reward_tokens",
        "seconds",
    ]
    assert json.loads(lines[-1])["questions"] == 10
    assert stack.calls == ["start", "stop"]


def test_the_stack_is_stopped_also_after_a_failure(app: typer.Typer, stack: FakeStack, gateway: FakeGateway) -> None:
    """And no JSON line pretends that there was a result."""
    gateway.answer = lambda question, body: failure(503, "The policy is down.", "EngineUnavailable")
    run = RUNNER.invoke(app)
    assert run.exit_code == 1
    assert "The policy is down." in run.stderr
    assert "accuracy" not in run.stdout
    assert stack.calls == ["start", "stop"]


def test_a_terminated_demo_stops_its_stack(app: typer.Typer, stack: FakeStack, gateway: FakeGateway) -> None:
    """CI that loses patience leaves nothing running."""

    def terminate(question: str, body: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return completion("35")

    gateway.answer = terminate
    assert RUNNER.invoke(app).exit_code == 128 + signal.SIGTERM
    assert stack.calls == ["start", "stop"]


def test_a_running_stack_is_used_and_left_up(app: typer.Typer, stack: FakeStack, state_dir: Path) -> None:
    """What somebody else started is somebody else's to stop."""
    StateDir(state_dir).save(State(Pid.of(os.getpid()), URL, "", ready=True))
    run = RUNNER.invoke(app)
    assert run.exit_code == 0, run.output
    assert f"Using the stack that runs on {URL}" in run.stdout
    assert stack.calls == []


def test_another_model_than_the_projects_own_is_named(app: typer.Typer, stack: FakeStack, gateway: FakeGateway) -> None:
    """The held-out problems and the model card are the tiny pair's."""
    gateway.models = ["large"]
    run = RUNNER.invoke(app)
    assert run.exit_code == 1
    assert "serves large. The demo needs the model 'tiny'" in run.stderr
