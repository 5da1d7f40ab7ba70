"""The frozen pair: its size on disk and the shape vLLM needs."""

import json
import struct
from pathlib import Path

import pytest

from models import heldout

MODELS = Path(heldout.__file__).parent
LIMITS = {"tiny-policy": 6_000_000, "tiny-prm": 12_000_000}


@pytest.mark.parametrize("name", LIMITS)
def test_a_folder_is_small_enough_for_git(name: str) -> None:
    """All files together stay under the limit in bytes."""
    assert sum(file.stat().st_size for file in (MODELS / name).iterdir()) <= LIMITS[name]


@pytest.mark.parametrize("name", LIMITS)
def test_weights_are_bfloat16_and_match_the_config(name: str) -> None:
    """Every tensor is stored in bfloat16, and the embedding has the shape that config.json states."""
    with (MODELS / name / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    header.pop("__metadata__")
    config = json.loads((MODELS / name / "config.json").read_text())
    assert {entry["dtype"] for entry in header.values()} == {"BF16"}
    assert header["model.embed_tokens.weight"]["shape"] == [config["vocab_size"], config["hidden_size"]]


@pytest.mark.parametrize("name", LIMITS)
def test_the_architecture_is_one_that_vllm_serves_on_a_cpu(name: str) -> None:
    """Llama with a head size of 32 or 64."""
    config = json.loads((MODELS / name / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in (32, 64)
    assert config["hidden_size"] == config["head_dim"] * config["num_attention_heads"]


@pytest.mark.parametrize("name", LIMITS)
def test_generation_ends_at_the_end_token(name: str) -> None:
    """generation_config.json, config.json and the tokenizer agree on the end token."""
    folder = MODELS / name
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config, generation = (json.loads((folder / f).read_text()) for f in ("config.json", "generation_config.json"))
    end = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<eos>")
    assert config["eos_token_id"] == generation["eos_token_id"] == end
