"""Under which names a model's outputs are kept."""

import os
from pathlib import Path
from typing import Any

import pytest

from service.revision import fingerprint, policy_revision, reward_revision
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
    return reward_revision(RewardSettings.model_validate({"model": "some/prm", **changes}))


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


def policy(**changes: Any) -> str:
    """The name of a policy with `changes`."""
    plain = {"policies": {"p": {"model": "some/policy", **changes}}, "models": {"tiny": {"policy": "p"}}}
    return policy_revision(Settings.model_validate(plain), "tiny")


@pytest.mark.parametrize(
    "change",
    [
        {"model": "some/other"},
        {"served_name": "other"},
        {"flags": ("--quantization", "fp8")},
        {"revision": "2"},
        {"prompt": {"system": "Be brief."}},
        {"steps": {"separators": ("\n",)}},
        {"sampling": {"temperature": 0.5}},
    ],
)
def test_what_decides_a_policys_outputs_is_in_the_name(change: dict[str, Any]) -> None:
    """Another text for the same question, another name."""
    assert policy(**change) != policy()


def test_where_a_policy_runs_and_what_it_costs_is_not_in_the_name() -> None:
    """The same policy elsewhere writes the same."""
    elsewhere = {"url": "http://10.0.0.7:8000", "slots": 3, "timeout_s": 5, "price": {"input": 1, "output": 2}}
    assert policy(**elsewhere) == policy()


def test_another_template_is_another_policy(tmp_path: Path) -> None:
    """Its text counts, not its name."""
    file = tmp_path / "template.jinja"
    file.write_text("one")
    named = policy(prompt={"template_file": file})
    file.write_text("two")
    assert policy(prompt={"template_file": file}) != named
    (tmp_path / "copy.jinja").write_text("two")
    assert policy(prompt={"template_file": tmp_path / "copy.jinja"}) == policy(prompt={"template_file": file})


def test_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a name is asked for, weights are read when they are first seen."""
    first, opened = policy(model=str(folder)), Path.open

    def unread(file: Path, *arguments: Any, **more: Any) -> Any:
        assert file.parent != folder, "read again"
        return opened(file, *arguments, **more)

    monkeypatch.setattr(Path, "open", unread)
    assert policy(model=str(folder)) == first
