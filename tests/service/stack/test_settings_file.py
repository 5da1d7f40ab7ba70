import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.errors import ConfigError
from service.settings_file import PACKAGED, config_path, load_settings, plain, save_settings

MINIMAL: dict[str, Any] = {
    "policies": {"tiny-policy": {"model": "m"}},
    "reward_models": {"tiny-prm": {"model": "r"}},
    "models": {"tiny": {"policy": "tiny-policy", "reward": "tiny-prm"}},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small valid configuration file."""
    path = tmp_path / "mull.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def problems(path: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ)
    return caught.value.problems


def test_environment_overrides_the_file(config: Path) -> None:
    """Two underscores go down one level, and the value takes the option's type."""
    settings = load_settings(config, {"MULL_GATEWAY__PORT": "9000", "MULL_STATE_DIR": "elsewhere"})
    assert settings.gateway.port == 9000
    assert settings.state_dir == Path("elsewhere")


def test_environment_reaches_a_named_engine(config: Path) -> None:
    """A name with a dash is reached with an underscore, since a shell allows no dash."""
    settings = load_settings(config, {"MULL_POLICIES__TINY_POLICY__URL": "http://127.0.0.1:8000"})
    assert str(settings.policies["tiny-policy"].url) == "http://127.0.0.1:8000/"


def test_environment_can_give_lists(config: Path) -> None:
    """A value that looks like JSON is read as JSON."""
    settings = load_settings(config, {"MULL_POLICIES__TINY_POLICY__FLAGS": '["--dtype", "bfloat16"]'})
    assert settings.policies["tiny-policy"].flags == ("--dtype", "bfloat16")


def test_foreign_variables_are_left_alone(config: Path) -> None:
    """What a container platform sets for a service of this name is no option."""
    assert load_settings(config, {"MULL_SERVICE_HOST": "10.0.0.1", "MULL_PORT": "tcp://10.0.0.1:80"})


def test_misspelt_option_is_named_with_what_is_known(config: Path) -> None:
    """An unknown key says where it is, who set it, and what would have been right."""
    (problem,) = problems(config, MULL_GATEWAY__PROT="1")
    assert problem.startswith(
        "gateway.prot (set by MULL_GATEWAY__PROT): there is no such option; known here: host, port"
    )


def test_every_problem_has_a_line(config: Path) -> None:
    """All faults are told at once, each with its key."""
    found = problems(config, MULL_GATEWAY__PORT="0", MULL_REDIS__URL="localhost", MULL_NO__SUCH="1")
    assert [re.split("[ :]", problem)[0] for problem in found] == ["gateway.port", "redis.url", "no"]


def test_model_must_name_an_engine_that_exists(config: Path) -> None:
    """A reference into nothing is refused, with the names there are."""
    (problem,) = problems(config, MULL_MODELS__TINY__POLICY="big")
    assert problem == "models.tiny.policy is 'big': not in policies ['tiny-policy']"


@pytest.mark.parametrize(("text", "fault"), [("a: [", "is not YAML"), ("- 1", "must be a mapping"), ("", "must be")])
def test_file_that_holds_no_mapping_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    """A file that is no YAML mapping gives one line and no traceback."""
    path = tmp_path / "mull.yaml"
    path.write_text(text)
    assert problems(path)[0].startswith(fault)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A file named by the user must be there: the packaged one does not step in."""
    assert problems(tmp_path / "none.yaml") == ("there is no such file",)


def test_model_paths_count_from_the_file(config: Path) -> None:
    """A folder beside the file becomes absolute and lends its name; a hub's name stays as it is."""
    (config.parent / "m").mkdir()
    settings = load_settings(config, {"MULL_REWARD_MODELS__TINY_PRM__MODEL": "org/prm"})
    assert settings.policies["tiny-policy"].model == str(config.parent / "m")
    assert settings.policies["tiny-policy"].name == "m"
    assert settings.reward_models["tiny-prm"].model == "org/prm"


def test_secrets_are_hidden_unless_revealed(config: Path) -> None:
    """The password in a Redis URL is printed by no command."""
    settings = load_settings(config, {"MULL_REDIS__URL": "redis://:secret@host"})
    assert "secret" not in str(plain(settings, reveal=False)) + repr(settings)
    assert plain(settings, reveal=True)["redis"]["url"] == "redis://:secret@host"


def test_saved_settings_are_private_and_read_back_equal(config: Path, tmp_path: Path) -> None:
    """What children are handed is the same configuration, for the owner's eyes only."""
    settings = load_settings(config, {"MULL_REDIS__URL": "redis://:secret@host"})
    saved = tmp_path / "effective.yaml"
    save_settings(settings, saved)
    assert load_settings(saved, {}) == settings
    assert saved.stat().st_mode & 0o777 == 0o600


def test_packaged_configuration_is_used_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty folder the tiny pair is served; a `mull.yaml` there comes first."""
    monkeypatch.chdir(tmp_path)
    assert config_path({}) == PACKAGED
    assert load_settings(config_path({}), {}).models
    Path("mull.yaml").touch()
    assert config_path({}) == Path("mull.yaml")
