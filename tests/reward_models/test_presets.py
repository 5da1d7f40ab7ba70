import pytest
from pydantic import TypeAdapter, ValidationError

from reward_models.presets import PRESETS
from reward_models.registry import FAMILIES, FamilySpec
from service.settings import RewardSettings
from service.stack.engine import engine_command

FAMILY = TypeAdapter(FamilySpec)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_chosen_by_its_name(name: str) -> None:
    """The bare name, or a mapping with parameters."""
    assert type(FAMILY.validate_python(name)) is FAMILIES[name]
    assert type(FAMILY.validate_python({"name": name})) is FAMILIES[name]


def test_unknown_families_and_parameters_are_refused() -> None:
    """A misspelt option must not be ignored."""
    with pytest.raises(ValidationError, match="math_sheperd"):
        FAMILY.validate_python("math_sheperd")
    with pytest.raises(ValidationError, match="good_tokn"):
        FAMILY.validate_python({"name": "rlhflow", "good_tokn": "+"})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_all_that_settings_need(name: str) -> None:
    """One setting names model, family and vLLM's arguments."""
    settings = RewardSettings.model_validate({"preset": name})
    assert settings.family == PRESETS[name].family
    assert settings.arguments == PRESETS[name].arguments
    assert settings.model.endswith(PRESETS[name].model)


@pytest.mark.parametrize("name", PRESETS)
def test_scores_that_are_no_next_token_are_served_by_the_pooling_runner(name: str) -> None:
    """A causal language model is asked for tokens; every other family for what its head says."""
    preset = PRESETS[name]
    asks_for_tokens = preset.family.name in {"label_token", "math_shepherd", "rlhflow"}
    assert (preset.flags == ("--runner", "pooling")) == (not asks_for_tokens)


@pytest.mark.parametrize("name", PRESETS)
def test_the_longest_prompt_fits_vllm_s_cache_on_a_cpu(name: str) -> None:
    """vLLM does not start where it does not: twice what a prompt takes in float32, and never below 256 MiB."""
    preset = PRESETS[name]
    settings = RewardSettings.model_validate({"preset": name})
    command = engine_command(settings, port=1, profile="cpu", on_card=2)
    cache = int(command[command.index("--kv-cache-memory-bytes") + 1])
    assert cache == max(256 * 2**20, 8 * preset.cached_numbers * (preset.context or 0))
    assert "--max-num-batched-tokens" not in command


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.context is not None])
def test_a_model_with_a_context_limit_tells_what_a_token_takes(name: str) -> None:
    """The room for a prompt of full length can be counted."""
    assert PRESETS[name].cached_numbers > 0


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.convert is not None])
def test_a_model_to_be_converted_is_loaded_from_a_folder_of_that_name(name: str) -> None:
    """What is published and what vLLM loads are two checkpoints."""
    preset = PRESETS[name]
    assert preset.convert is not None
    assert preset.model == f"models/{preset.convert.partition('/')[2]}"
