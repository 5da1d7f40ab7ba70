"""The install script: what it says where a machine lacks something, and when it has nothing to do."""

import sys
from pathlib import Path

import pytest

from deploy import install


def test_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Python 3.11 the message says which version is needed and how to name one."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"Python 3\.11 is needed.*make PYTHON="):
        install.check_machine()


def test_missing_venv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian splits venv off Python: the message names the package that brings it."""
    monkeypatch.setattr(install, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(SystemExit, match=r"lacks ensurepip.*python3\.11-venv"):
        install.check_machine()


def test_unknown_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt ENGINE ends before anything is installed."""
    monkeypatch.setattr(sys, "argv", ["install", "tpu"])
    with pytest.raises(SystemExit, match="ENGINE=cpu or ENGINE=gpu"):
        install.main()


def test_changed_lock_is_noticed(tmp_path: Path) -> None:
    """A stamp stands for one exact content of the lock: a changed file is installed again."""
    lock, stamp = tmp_path / "cpu.txt", tmp_path / "stamp"
    lock.write_text("a==1")
    stamp.write_text(install.digest(lock))
    assert install.stamped(stamp, lock)
    lock.write_text("a==2")
    assert not install.stamped(stamp, lock)


def test_block_is_one_package_with_its_hashes(tmp_path: Path) -> None:
    """uv is installed from its own lines of the lock, before everything else."""
    lock = tmp_path / "cpu.txt"
    uv = "uv==1 \\\n    --hash=sha256:0a \\\n    --hash=sha256:0b\n"
    uvloop = "uvloop==2 \\\n    --hash=sha256:0c\n"
    lock.write_text(f"# by make lock\n{uv}{uvloop}")
    assert install.block(lock, "uv") == uv
    assert install.block(lock, "uvloop") == uvloop
