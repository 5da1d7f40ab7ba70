"""Under which name the scores of a reward model are kept."""

import os
from pathlib import Path
from typing import Any

import pytest

from service.score_memory import fingerprint, revision_of, score_memos
from service.settings import RewardSettings, Settings

LARGE = 3_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model: its configuration and a file of weights."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(LARGE))
    return tmp_path


def named(**changes: Any) -> str:
    """The name of a model with `changes`."""
    return revision_of(RewardSettings.model_validate({"model": "some/prm", **changes}))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "some/other"},
        {"served_name": "prm-2"},
        {"preset": "tiny"},
        {"family": {"name": "label_token", "good_token": "+"}},
        {"math_only": True},
        {"flags": ("--quantization", "fp8")},
        {"revision": "2"},
    ],
)
def test_what_decides_the_scores_is_in_the_name(change: dict[str, Any]) -> None:
    """Other scores, another name."""
    assert named(**change) != named()


def test_where_it_runs_is_not_in_the_name() -> None:
    """The same model elsewhere has the same scores."""
    assert named(url="http://10.0.0.7:8000", slots=3, timeout_s=5, api_key_env="KEY") == named()


@pytest.mark.parametrize("place", [0, LARGE - 1])
def test_other_weights_have_another_name(folder: Path, place: int) -> None:
    """Even of the same size, changed at their beginning or at their end."""
    before = named(model=str(folder))
    weights = bytearray(LARGE)
    weights[place] = 1
    (folder / "model.safetensors").write_bytes(weights)
    assert named(model=str(folder)) != before


def test_a_copy_has_the_same_name(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Times and hidden files do not matter: each machine has its own."""
    copy = tmp_path_factory.mktemp("copy")
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
        os.utime(copy / file.name, (0, 0))
    (copy / ".lock").write_text("")
    assert fingerprint(copy) == fingerprint(folder)


def test_a_model_of_the_hub_has_no_files_here() -> None:
    """Its name is all that there is to go by."""
    assert fingerprint(Path("some/prm")) is None


def memos(**settings: Any) -> dict[str, Any]:
    """The memories of one reward model, without Redis."""
    plain = {
        "policies": {"p": {"model": "some/policy"}},
        "reward_models": {"r": {"model": "some/prm"}},
        "models": {"tiny": {"policy": "p", "reward": "r"}},
        "redis": {"enabled": False},
    }
    return dict(score_memos(Settings.model_validate({**plain, **settings})))


def test_each_reward_model_has_a_memory() -> None:
    """Unless nothing is to be remembered."""
    assert set(memos()) == {"r"}
    assert memos(scores={"size": 0}) == {}
