"""The image, built step by step in a clean root as the Dockerfile says, and started as a container would be.

There is no container engine here. `clean_root` says what stands for the base image.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest
import yaml
from clean_root import Image, why_not
from dockerfile import ignored
from replay import replay

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789ab"
READY_S = 120
MEMORY_BYTES = 3 * 2**30
reason = why_not()
replayed = pytest.mark.skipif(reason is not None and "CI" not in os.environ, reason=str(reason))


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image of this checkout, built in memory where there is room: it has many files, and lives for a minute."""
    assert reason is None, reason
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES
    with TemporaryDirectory(prefix="mull-image-", dir=memory if roomy else None) as scratch:
        yield replay(ROOT / "Dockerfile", Path(scratch), {"COMMIT": COMMIT})


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile keeps to what its linter knows of good practice."""
    assert subprocess.run(["hadolint", ROOT / "Dockerfile"], env=_with_venv()).returncode == 0


def test_the_build_sees_nothing_that_it_does_not_need() -> None:
    """Secrets, state and history stay out: only what is named goes to the builder."""
    rules = (ROOT / ".dockerignore").read_text()
    outside = (".git/config", ".mull/ray-token", ".venv/bin/python", "tests/conftest.py", "service/__pycache__/x.pyc")
    assert all(ignored(path, rules) for path in outside)
    assert not any(ignored(path, rules) for path in ("pyproject.toml", "service/cli/up.py", "deploy/locks/base.txt"))


@replayed
def test_the_command_tells_version_and_commit(image: Image) -> None:
    """`docker run mull --version` says what was built, and so does the image's label."""
    said = image.run([*image.entrypoint, "--version"]).stdout
    assert said.endswith(f"+{COMMIT}\n")
    assert image.labels["org.opencontainers.image.revision"] == COMMIT


@replayed
def test_no_engine_is_in_the_image(image: Image) -> None:
    """Neither torch nor vLLM can be imported, and all of Mull can."""
    look = "from importlib.util import find_spec; print([name for name in {} if find_spec(name)])"
    assert image.run(["python", "-c", look.format(("torch", "vllm", "transformers", "triton"))]).stdout == "[]\n"
    image.run(["python", "-c", "import service.gateway.app, service.worker, service.library, service.stack.workers"])


@replayed
def test_a_read_only_container_serves(image: Image, tmp_path: Path) -> None:
    """What the image starts by default, as no root and with nothing writable but its state and /tmp, turns healthy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    settings = yaml.safe_load((ROOT / "mull.yaml").read_text())
    for engine in (*settings["policies"].values(), *settings["reward_models"].values()):
        engine["url"] = "http://127.0.0.1:9"
    (tmp_path / "mull.yaml").write_text(yaml.safe_dump(settings | {"redis": {"enabled": False}}))
    options = {
        "extra": {"MULL_GATEWAY__PORT": port, "MULL_DOORS__OPEN": "true"},
        "binds": {"/etc/mull/mull.yaml": tmp_path / "mull.yaml"},
    }
    container = image.start(
        [*image.entrypoint, *image.command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    try:
        until = time.monotonic() + READY_S
        while image.start(image.healthcheck, stderr=subprocess.DEVNULL, **options).wait():
            assert container.poll() is None
            assert time.monotonic() < until
            time.sleep(0.5)
        parts = [psutil.Process(container.pid), *psutil.Process(container.pid).children(recursive=True)]
        assert {part.uids().real for part in parts} == {10001}
        assert image.start(["touch", "/app/changed"], stderr=subprocess.DEVNULL, **options).wait() != 0
    finally:
        container.terminate()
        container.wait(60)
    assert not [part for part in parts if part.is_running() and part.status() != psutil.STATUS_ZOMBIE]


def _with_venv() -> dict[str, str]:
    return os.environ | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
