"""`mull report --targets`: what a Prometheus has to be told to watch the stack that runs here."""

import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from service.cli import app
from service.errors import StackError
from service.report.targets import scrape_config
from service.stack.processes import Pid
from service.stack.state import Record, State, StateDir

PARTS = {
    "redis": None,
    "policy-m": "http://127.0.0.1:8101/metrics",
    "policy-m-2": "http://127.0.0.1:8102/metrics",
    "reward-j": "http://127.0.0.1:8103/metrics",
    "workers": "http://127.0.0.1:8104/metrics",
    "gateway": "http://127.0.0.1:8080/metrics",
}
WATCHED = {
    "policy": ["127.0.0.1:8101", "127.0.0.1:8102"],
    "reward": ["127.0.0.1:8103"],
    "workers": ["127.0.0.1:8104"],
    "mull": ["127.0.0.1:8080"],
}


def state(supervisor: Pid) -> State:
    """A stack with two policy servers and a part that tells no metrics."""
    records = [Record(name, supervisor, "http://x", "log", 10, metrics) for name, metrics in PARTS.items()]
    return State(supervisor, "http://127.0.0.1:8080", "scratch", parts=records)


def test_all_that_tells_metrics_is_watched_under_the_name_that_rules_know() -> None:
    """Replicas of an engine are one job; what tells nothing is left out."""
    config = yaml.safe_load(scrape_config(state(Pid.of(os.getpid()))))
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs == WATCHED


def test_the_command_prints_it_for_the_stack_that_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And asks no Prometheus for it."""
    folder = StateDir(tmp_path)
    folder.create()
    folder.save(state(Pid.of(os.getpid())))
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["report", "--targets"])
    assert done.exit_code == 0, done.output
    assert done.output == scrape_config(state(Pid.of(os.getpid())))


def test_without_a_stack_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None has been started, or the one that was does not run any more."""
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path))
    done = CliRunner().invoke(app, ["report", "--targets"])
    assert done.exit_code == 1
    assert "No stack runs here." in done.output
    with pytest.raises(StackError):
        scrape_config(state(Pid(os.getpid(), 0.0)))
