"""The profiles of real models: they fit the cards, and `mull up` takes them. The models were never run here."""

import re
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.shapes import SHAPES
from deploy.sizing import ALLOWANCE, CARDS, LEFT_ALONE, MIB, engines, flag, known_as, profiles, shares, table
from reward_models.presets import PRESETS
from service.cli import app
from service.settings_file import load_settings

ROOT = Path(__file__).parents[2]
PROFILES = profiles()
PUBLISHED = {
    "Qwen/Qwen2.5-Math-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-Math-7B-Instruct": 7_615_616_512,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 7_615_616_512,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": 8_030_261_248,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_weights(name: str) -> None:
    """The formula counts what the hub counts in the files."""
    assert SHAPES[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", PROFILES)
def test_cache_sizes_of_reward_models_are_those_of_their_presets(name: str) -> None:
    """Two places know how many numbers a token takes: they agree."""
    for reward in load_settings(PROFILES[name], environ={}).reward_models.values():
        assert reward.preset is not None
        assert PRESETS[reward.preset].cached_numbers == SHAPES[known_as(reward)].cached_numbers


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_sized_for_the_card_it_names(name: str) -> None:
    """It names the smallest card it fits, and gives the engines what the arithmetic gives them there."""
    settings = load_settings(PROFILES[name], environ={})
    named = re.search(r"card of (\d+) GB", PROFILES[name].read_text())
    assert named is not None
    fitting = {card: found for card in CARDS if (found := shares(settings, card)) is not None}
    assert min(fitting) == int(named[1])
    for role, engine in engines(settings).items():
        share = fitting[min(fitting)][role]
        assert int(flag(engine, "--kv-cache-memory-bytes")) == share.cache
        # vLLM does not start where less than this share of the card is free.
        asked = float(flag(engine, "--gpu-memory-utilization"))
        assert 0 <= (share.weights + share.cache) / (CARDS[min(fitting)] * MIB) - asked < 0.01


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", PROFILES)
def test_no_card_is_given_more_than_it_has(name: str, card: int) -> None:
    """Weights, caches and allowances of all engines stay below the card's memory, less what is left alone."""
    found = shares(load_settings(PROFILES[name], environ={}), card)
    if found is not None:
        assert sum(share.total for share in found.values()) <= CARDS[card] * MIB * (1 - LEFT_ALONE)
        assert all(share.total - share.weights - share.cache == ALLOWANCE for share in found.values())


def test_the_page_has_the_table_of_today() -> None:
    """docs/operations.md shows what `python -m deploy.sizing` prints."""
    assert table() in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", PROFILES)
def test_mull_up_prints_the_commands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile is a configuration: `mull up --dry-run` shows the servers it would start, one for each engine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("MULL_GATEWAY__PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MULL_CONFIG", str(PROFILES[name]))
    shown = CliRunner().invoke(app, ["up", "--dry-run", "--profile", "gpu"])
    assert shown.exit_code == 0, shown.output
    for engine in engines(load_settings(PROFILES[name], environ={})).values():
        assert f"--model {engine.model} " in shown.output
        assert f"--kv-cache-memory-bytes {flag(engine, '--kv-cache-memory-bytes')}" in shown.output
