"""How a reward model is named in the configuration, and what that comes to."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reward_models.label_token import LabelToken
from reward_models.presets import PRESETS
from service.cli.up import judged_by, start
from service.errors import ConfigError, StackError
from service.settings import Price, RewardSettings, Settings
from service.settings_file import load_settings, save_settings
from service.stack import plan as planning
from service.stack.plan import Part, plan_stack
from service.stack.ports import free_ports
from service.stack.state import StateDir

POLICY = {"model": "some/policy", "slots": 7, "price": {"input": 1, "output": 3}}


def settings(rewards: dict[str, Any], **model: Any) -> Settings:
    return Settings.model_validate(
        {
            "gateway": {"port": next(free_ports())},
            "policies": {"p": POLICY},
            "reward_models": rewards,
            "models": {"m": {"policy": "p", **model}},
        }
    )


def started(found: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Part], Settings]:
    monkeypatch.setattr(planning, "find_spec", lambda name: object())
    plan = plan_stack(found, profile="cpu", state_dir=StateDir(folder), scratch=folder)
    return {part.name: part for part in plan.parts}, plan.settings


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_one_setting(name: str) -> None:
    """It says what to load, how to serve it and how to read it."""
    reward = RewardSettings.model_validate({"preset": name})
    assert reward.family == PRESETS[name].family
    assert reward.arguments == PRESETS[name].arguments
    assert Path(reward.model).is_dir() or reward.model == PRESETS[name].model


def test_what_is_said_beside_a_preset_wins() -> None:
    """One's own flags come after the preset's, where vLLM heeds them."""
    said = {"preset": "tiny", "model": "my/copy", "flags": ["--port", "1"], "family": {"name": "label_token"}}
    reward = RewardSettings.model_validate(said)
    assert (reward.model, reward.family) == ("my/copy", LabelToken())
    assert reward.arguments == (*PRESETS["tiny"].arguments, "--port", "1")


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "tiny"])
def test_a_known_model_brings_its_preset(name: str) -> None:
    """Whoever gives a server's URL and the model's name need not say how it is read."""
    found = RewardSettings.model_validate({"model": PRESETS[name].model, "url": "http://127.0.0.1:1"})
    assert found.family == PRESETS[name].family
    asked = RewardSettings.model_validate({"model": PRESETS[name].model, "family": "label_token"})
    assert (asked.family, asked.preset) == (LabelToken(), None)


def test_an_unknown_preset_is_named_with_those_that_there_are() -> None:
    """Which ones there are is the next question."""
    with pytest.raises(ValidationError, match="no preset 'huge'; known: tiny"):
        RewardSettings.model_validate({"preset": "huge"})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_being_written_down(name: str, tmp_path: Path) -> None:
    """The workers read the settings from a file."""
    before = settings({"r": {"preset": name}}, reward="r")
    save_settings(before, tmp_path / "settings.yaml")
    assert load_settings(tmp_path / "settings.yaml", environ={}) == before


def test_a_policy_that_judges_itself_is_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`judge: same` is a judge behind the policy's own engine."""
    parts, found = started(settings({}, judge="same"), tmp_path, monkeypatch)
    assert "policy-p" in parts
    assert not any(name.startswith("reward") for name in parts)
    judge = found.reward_of("m")
    assert judge is not None
    assert (judge.family.name, judge.model, judge.slots) == ("judge", "some/policy", 7)
    assert judge.url == found.policies["p"].url
    assert judge.price == found.policies["p"].price == Price(input=1, output=3)


def test_a_judge_that_shares_an_engine_can_have_parameters() -> None:
    """`judge: same` is the short form of this."""
    found = settings({"critic": {"family": {"name": "judge", "critiques": 3}, "shares": "p"}}, reward="critic")
    judge = found.reward_of("m")
    assert judge is not None
    assert judge.model == "some/policy"
    assert judge.family.model_dump()["critiques"] == 3


def test_a_shared_engine_survives_being_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its URL, and with the slots that the judge has for itself."""
    critic = {"family": "judge", "shares": "p", "slots": 3}
    _, found = started(settings({"critic": critic}, reward="critic"), tmp_path, monkeypatch)
    save_settings(found, tmp_path / "settings.yaml")
    again = load_settings(tmp_path / "settings.yaml", environ={})
    assert again == found
    assert (again.reward_models["critic"].slots, again.policies["p"].slots) == (3, 7)


@pytest.mark.parametrize(
    ("rewards", "model", "said"),
    [
        ({"r": {"preset": "tiny"}}, {"reward": "r", "judge": "same"}, "not both"),
        ({"r": {"family": "judge", "shares": "q", "model": "x"}}, {"reward": "r"}, "shares is 'q'"),
        ({"r": {"family": "judge", "shares": "p", "model": "x"}}, {"reward": "r"}, "leave model out"),
        ({"r": {"family": "judge", "shares": "p", "flags": ["--x"]}}, {"reward": "r"}, "leave flags out"),
        ({}, {"reward": "r"}, "not in reward_models"),
    ],
)
def test_contradictions_are_refused(rewards: dict[str, Any], model: dict[str, Any], said: str) -> None:
    """Each with the names in question."""
    with pytest.raises(ValidationError, match=said):
        settings(rewards, **model)


@pytest.mark.parametrize("name", PRESETS)
def test_any_preset_can_judge_the_configured_models(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mull up --reward PRESET` starts it instead of the configured one, with the preset's own flags."""
    parts, _ = started(judged_by(settings({"r": {"preset": "tiny"}}, reward="r"), name), tmp_path, monkeypatch)
    command = parts[f"reward-{name}"].command
    assert "reward-r" not in parts
    flags = list(PRESETS[name].arguments)
    assert command[len(command) - len(flags) :] == flags


def test_what_must_be_converted_is_not_started_before() -> None:
    """The error says how; a dry run prints the command all the same."""
    chosen = judged_by(settings({}), "skywork-o1-7b")
    with pytest.raises(StackError, match=r"no models/Skywork") as raised:
        start(chosen, detach=True, dry_run=False, profile="cpu")
    assert "mull reward convert FOLDER models/Skywork" in raised.value.hint


def test_a_configured_reward_model_is_chosen_by_its_name() -> None:
    """It goes before a preset of the same name; one that is neither is an error that names both kinds."""
    found = judged_by(settings({"tiny": {"model": "my/own"}}), "tiny")
    assert found.models["m"].reward == "tiny"
    assert found.reward_models["tiny"].model == "my/own"
    with pytest.raises(ConfigError, match="no reward model 'huge'; known: mine, tiny"):
        judged_by(settings({"mine": {"model": "my/own"}}), "huge")
