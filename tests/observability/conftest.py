"""Prometheus from Debian's package, and its tool that checks rules."""

import shutil
from pathlib import Path

import pytest

from tests.debian import unpacked


@pytest.fixture(scope="session")
def prometheus_binary(pytestconfig: pytest.Config) -> Path:
    """The server, from PATH or else from Debian's package, which is unpacked only; `promtool` lies beside it."""
    if found := shutil.which("prometheus"):
        return Path(found)
    assert pytestconfig.cache is not None
    return unpacked(pytestconfig.cache, "prometheus") / "usr/bin/prometheus"


@pytest.fixture(scope="session")
def promtool(prometheus_binary: Path) -> Path:
    """What checks rules and runs their tests."""
    return prometheus_binary.with_name("promtool")
