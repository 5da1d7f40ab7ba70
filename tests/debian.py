"""Programs from Debian's packages, unpacked and not installed: no root is needed, and the machine stays as it is."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

LIMIT_S = 120


def unpacked(cache: pytest.Cache, *packages: str) -> Path:
    """Return the root under which `packages`, dependencies that are wanted included, lie unpacked.

    Where they cannot be had, the test says so and is skipped; in CI it fails.
    """
    folder = Path(cache.mkdir(packages[0])) / "unpacked"
    if not folder.exists() and (problem := _unpack(folder, packages)):
        reason = f"Debian's {', '.join(packages)} cannot be had: {problem}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return folder


def _unpack(folder: Path, packages: tuple[str, ...]) -> str | None:
    """Unpack into a folder, all or nothing; return what was in the way."""
    with TemporaryDirectory(dir=folder.parent) as name:
        new = Path(name)
        try:
            _download(new, packages)
            for package in new.glob("*.deb"):
                _run("dpkg", "-x", str(package), str(new / "all"))
            (new / "all").rename(folder)
        except subprocess.CalledProcessError as error:
            return str(error.stderr, errors="replace")[-300:]
        except (OSError, subprocess.TimeoutExpired) as error:
            return None if folder.exists() else str(error)  # another run of the tests may have been first
    return None


def _download(folder: Path, packages: tuple[str, ...]) -> None:
    try:
        _run("apt-get", "download", *packages, cwd=folder)
    except subprocess.CalledProcessError:
        # The machine's list of packages is missing or old: fetch one of our own.
        (folder / "lists" / "partial").mkdir(parents=True)
        own = "-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"
        _run("apt-get", *own, "update")
        _run("apt-get", *own, "download", *packages, cwd=folder)


def _run(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=LIMIT_S)
