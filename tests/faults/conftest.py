"""The faulty stack for all tests that break something, and the table of what came of it."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_stack import FaultyStack, faulty_stack
from table import Table
from trial import Trials

LONG = "faults"
SOAK_MINUTES = 30.0
SPARE_S = 900


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the soak's length, and the file for the table."""
    parser.addoption("--soak-minutes", type=float, default=SOAK_MINUTES, help="how long faults come at random")
    parser.addoption("--outcomes", type=Path, help="Markdown file that gets the table, between its two marks")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", f"{LONG}: the whole list of faults and the soak; run only when asked for by name"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long list out unless the marker's name is in what was asked for, and give the soak its time."""
    asked_for = LONG in str(config.getoption("markexpr"))
    left_out = [item for item in items if item.get_closest_marker(LONG) and not asked_for]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.get_closest_marker(LONG):
            item.add_marker(pytest.mark.timeout(60 * _soak_minutes(config) + SPARE_S))


def _soak_minutes(config: pytest.Config) -> float:
    """Return how long the soak lasts; the option is there only where this folder is named on the command line."""
    return float(config.getoption("--soak-minutes", SOAK_MINUTES))


@pytest.fixture
def soak_minutes(pytestconfig: pytest.Config) -> float:
    """How long the soak lasts."""
    return _soak_minutes(pytestconfig)


@pytest.fixture(scope="session")
def faulty(stack: Any, run_mull: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStack]:
    """A stack to break, on the engines of the session's stack."""
    with faulty_stack(lambda: stack.state, tmp_path_factory.mktemp("faulty"), run_mull) as started:
        yield started


@pytest.fixture(scope="session")
def trials(stack: Any, faulty: FaultyStack) -> Trials:
    """Tries faults on that stack."""
    return Trials(faulty, [stack.policy_url, stack.reward_url])


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator[Table]:
    """What came of each fault; written at the end."""
    made = Table()
    yield made
    if (path := pytestconfig.getoption("--outcomes", None)) is not None:
        made.write(path, shlex.join(["pytest", *pytestconfig.invocation_params.args]))
