"""Install the project into .venv from a lock with hashes: `python3 -m deploy.install cpu` (or gpu).

Runs on the system's Python with nothing but its standard library. A second run finds the stamps of the first
and ends at once. Raises SystemExit with what to do next where the machine lacks something.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from deploy.sources import sources

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UNREACHABLE = """\
Nothing above could install the lock. Check that the package index can be reached, then run this again;
`.venv/bin/python -m pip config list` shows which index it is."""


def main() -> None:
    """Make .venv match the lock of the engine named by the first argument, and this checkout."""
    engine = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    lock = ROOT / "deploy" / "locks" / f"{engine}.txt"
    if engine not in ("cpu", "gpu"):
        sys.exit(f"There is no lock for the engine {engine!r}: say ENGINE=cpu or ENGINE=gpu.")
    check_machine()
    locked, project = VENV / "mull-lock", VENV / "mull-project"
    if not stamped(locked, lock):
        install_lock(lock)
        locked.write_text(digest(lock))
    if not stamped(project, ROOT / "pyproject.toml"):
        subprocess.run([*pip(), "--no-deps", "--no-build-isolation", "--editable", str(ROOT)], check=True)
        project.write_text(digest(ROOT / "pyproject.toml"))


def check_machine() -> None:
    """Go on in Python 3.11 on a Linux machine the locks are made for, or name what is missing."""
    if sys.version_info[:2] != (3, 11):
        other = shutil.which("python3.11")
        if other is None:
            sys.exit(
                f"Python 3.11 is needed and this is {platform.python_version()}: install it (on Debian or "
                "Ubuntu: python3.11 and python3.11-venv), or say make PYTHON=/path/to/python3.11."
            )
        os.execv(other, [other, "-m", "deploy.install", *sys.argv[1:]])
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit(
            "The locks are for Linux on x86_64; elsewhere install with pip, without a lock: "
            "pip install -e '.[dev]', and point `mull serve --policy-url` at vLLM servers that already run."
        )
    if missing := [name for name in ("venv", "ensurepip") if find_spec(name) is None]:
        sys.exit(f"This Python lacks {' and '.join(missing)}: install it (on Debian or Ubuntu: python3.11-venv).")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stamped(stamp: Path, path: Path) -> bool:
    """Tell whether an earlier run finished with this very file."""
    return stamp.is_file() and stamp.read_text() == digest(path)


def install_lock(lock: Path) -> None:
    """Make a fresh .venv that holds what the lock lists and nothing else."""
    name, began = lock.relative_to(ROOT), time.monotonic()
    print(f"Installing {name} into .venv (3 GB for the CPU; one to five minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    # uv installs in seconds what takes pip minutes; where it cannot be had, pip does the rest.
    only_uv = [*pip(), "--no-deps", "--require-hashes", "-r", "/dev/stdin"]
    subprocess.run(only_uv, input=block(lock, "uv"), text=True, check=False)
    install(lock)
    print(f"Installed in {time.monotonic() - began:.0f} s", flush=True)


def block(lock: Path, name: str) -> str:
    """Return the lines of one package, its hashes included, from a lock."""
    lines = lock.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next((i for i in range(start + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    return "\n".join(lines[start:end]) + "\n"


def install(lock: Path) -> None:
    """Install a lock with uv, or pip where uv fails; each tries its usual sources before PyTorch's index.

    Bytecode is compiled here, even where PYTHONDONTWRITEBYTECODE is set: without it vLLM imports in a minute.
    """
    uv = VENV / "bin" / "uv"
    with_uv = [str(uv), "pip", "install", "--quiet", "--python", str(PYTHON), "--compile-bytecode"]
    for installer in [with_uv, pip()] if uv.exists() else [pip()]:
        for source in sources(PYTHON):
            command = [*installer, "--no-deps", "--require-hashes", "-r", str(lock)]
            run = subprocess.run(command, env=os.environ | source.environment, capture_output=True, text=True)
            if run.returncode == 0:
                return
            reason = " ".join(run.stderr.split("\n")[-3:]).strip()
            print(f"Not with {'uv' if installer is with_uv else 'pip'} from {source.name}: {reason}", flush=True)
    sys.exit(UNREACHABLE)


def pip() -> list[str]:
    """Return the start of a pip installation, silent but for errors, into .venv."""
    return [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--compile"]


if __name__ == "__main__":
    main()
