"""The whole stack, as `mull up` starts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from service.stack.processes import session
from service.stack.state import StateDir

pytestmark = pytest.mark.stack

MEMORY_LIMIT = 6e9


def test_it_can_answer(stack) -> None:
    """`mull up` returned, so that one generation and one score have been done; and a search works."""
    assert httpx.get(f"{stack.gateway_url}/readyz", timeout=60).status_code == 200
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Al has 3 pens. How many pens does Al have?"}]}
    reply = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text


def test_second_up_says_where_the_first_is(stack) -> None:
    """It ends at once with 1 and the URL, and nothing is started."""
    before = stack.state
    command = [sys.executable, "-m", "service.cli", "up", "--detach"]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"already runs on {stack.gateway_url}" in done.stderr
    assert stack.state == before


def test_doctor_finds_nothing_missing(stack, run_mull: Callable[..., str]) -> None:
    """Every probe of engines, Redis, Ray and gateway succeeds on our own stack."""
    said = run_mull("doctor", environment=stack.environment | {"COLUMNS": "200"})
    assert "missing" not in said.splitlines()[-1]
    assert {"policy", "reward", "redis", "ray", "gateway"} <= {line.split(" ")[0] for line in said.splitlines()}


def test_it_stays_below_six_gigabytes(stack) -> None:
    """All processes of all parts together, shared pages counted once."""
    used = 0
    for part in stack.state.parts:
        for process in session(part.process):
            used += psutil.Process(process.pid).memory_full_info().pss
    assert used < MEMORY_LIMIT


def test_serve_uses_running_engines_and_a_crash_leaves_only_them(
    stack, run_mull: Callable[..., str], own_environment: dict[str, str]
) -> None:
    """`mull serve` starts no engine; after a crash of its own, `mull down` stops what it started and no engine."""
    urls = ["--policy-url", stack.policy_url, "--reward-url", stack.reward_url]
    run_mull("serve", *urls, "--detach", environment=own_environment)
    state = StateDir(Path(own_environment["MULL_STATE_DIR"])).load()
    assert state is not None
    assert [part.name for part in state.parts] == ["redis", "workers", "gateway"]
    models = httpx.get(f"{state.url}/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["tiny-policy"]

    os.kill(state.supervisor.pid, signal.SIGKILL)
    run_mull("down", environment=own_environment)
    assert [part.name for part in state.parts if session(part.process)] == []
    assert httpx.get(f"{stack.gateway_url}/readyz", timeout=60).status_code == 200
