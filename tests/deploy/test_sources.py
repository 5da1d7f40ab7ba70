"""The sources of packages, as pip is configured."""

import sys
from pathlib import Path

import pytest

from deploy.sources import PYTORCH_CPU, sources


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration file, the only one that pip reads."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path))
    file = tmp_path / "pip.conf"
    file.write_text("")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def test_pip_settings_reach_uv(configuration: Path) -> None:
    """uv, which does not read pip's configuration, is given pip's index, further indexes and folders."""
    configuration.write_text(
        "[global]\nindex-url = https://mirror.example/simple\n"
        "extra-index-url = https://a.example/simple\n  https://b.example/simple\n"
        "find-links = /wheels\n"
    )
    variables = sources(Path(sys.executable))[0].environment
    assert variables["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert variables["UV_INDEX"].split() == ["https://a.example/simple", "https://b.example/simple"]
    assert variables["UV_FIND_LINKS"] == "/wheels"


def test_environment_wins_over_files(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in pip itself, PIP_FIND_LINKS counts before a file's find-links."""
    configuration.write_text("[global]\nfind-links = /from-file\n")
    monkeypatch.setenv("PIP_FIND_LINKS", "/from-environment")
    assert sources(Path(sys.executable))[0].environment["UV_FIND_LINKS"] == "/from-environment"


def test_pytorch_index_comes_second() -> None:
    """What pip is configured with is tried alone first, then with PyTorch's CPU index for both installers."""
    usual, added = (source.environment for source in sources(Path(sys.executable)))
    assert "UV_INDEX" not in usual
    assert added["UV_INDEX"] == added["PIP_EXTRA_INDEX_URL"] == PYTORCH_CPU


def test_setting_for_uv_is_kept(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that the user has named to uv itself is not replaced by pip's."""
    configuration.write_text("[global]\nindex-url = https://pip.example/simple\n")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    assert sources(Path(sys.executable))[0].environment["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
