"""The script that a gateway's pod runs in a Ray cluster, with programs in the place of Ray and of the gateway."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "k8s" / "kuberay" / "gateway.sh"
STAYS = "exec sleep 60"
ENDS = "exit 0"


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """The script, with `ray` and `python` doing what the test says."""
    for name, does in zip(("ray", "python"), request.param, strict=True):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}.said\n{does}\n')
        (tmp_path / name).chmod(0o755)
    variables = {"RAY_HEAD": "head:6379", "MULL_GATEWAY__HOST": "0.0.0.0", "MULL_GATEWAY__PORT": "8080"}
    path = f"{tmp_path}:{os.environ['PATH']}"
    script = subprocess.Popen(["bash", SCRIPT], env=os.environ | variables | {"PATH": path}, start_new_session=True)
    yield script
    if script.poll() is None:
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()


def children(script: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What the script has started, once it is both of them."""
    while len(found := psutil.Process(script.pid).children()) < 2:
        assert script.poll() is None
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("started", [(STAYS, STAYS)], indirect=True)
def test_asked_to_stop_it_stops_both_and_ends_well(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The pod ends when it is told to, not when it is killed, and it joined the cluster with nothing to give."""
    both = children(started)
    while not (tmp_path / "python.said").exists() or not (tmp_path / "ray.said").exists():
        assert started.poll() is None
        time.sleep(0.01)
    started.terminate()
    assert started.wait(10) == 0
    assert not [process for process in both if process.is_running()]
    joined = (tmp_path / "ray.said").read_text()
    assert "--address=head:6379" in joined
    assert "--num-cpus=0" in joined
    assert (tmp_path / "python.said").read_text() == "-m service.gateway --host 0.0.0.0 --port 8080\n"


@pytest.mark.parametrize("started", [(STAYS, ENDS), (ENDS, STAYS)], indirect=True, ids=["gateway", "node"])
def test_when_one_ends_the_container_is_to_be_started_again(started: subprocess.Popen[bytes]) -> None:
    """A gateway without its node, or a node without its gateway, serves nobody."""
    assert started.wait(10) == 1
    assert not [process for process in psutil.process_iter() if in_group(process.pid, started.pid)]


def in_group(pid: int, group: int) -> bool:
    """Whether a process, which may be gone by now, is of a group."""
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False
