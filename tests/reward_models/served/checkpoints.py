"""Small random checkpoints with the files, keys and heads of the published ones; transformers and torch are needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
import vocabularies
from safetensors.torch import save_file

HIDDEN = 64
SHAPE: Mapping[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,  # heads of 32: vLLM's CPU build knows none that are smaller
    "num_key_value_heads": 1,
    # Weights far larger than a real model begins with, so that what is read depends on every token before it.
    "initializer_range": 0.2,
    "dtype": "float32",
}
SEED = 2


def math_shepherd(folder: Path) -> None:
    """Write a `MistralForCausalLM` as peiyi9979/math-shepherd-mistral-7b-prm is one."""
    vocabulary = vocabularies.mistral()
    config = transformers.MistralConfig(
        **SHAPE, vocab_size=vocabulary.size, sliding_window=4096, max_position_embeddings=32768, rope_theta=10000.0
    )
    _write(folder, _filled(transformers.MistralForCausalLM(config)), vocabulary)


def rlhflow(folder: Path) -> None:
    """Write a `LlamaForCausalLM` as RLHFlow/Llama3.1-8B-PRM-Deepseek-Data is one."""
    vocabulary = vocabularies.llama()
    _write(folder, _filled(transformers.LlamaForCausalLM(_llama_config(vocabulary))), vocabulary)


def qwen_prm(folder: Path) -> None:
    """Write a `Qwen2ForProcessRewardModel` as Qwen/Qwen2.5-Math-PRM-7B is one: two layers over the hidden states."""
    vocabulary = vocabularies.qwen(extra={151651: "<extra_0>"})
    _write_with_head(folder, vocabulary, "Qwen2ForProcessRewardModel", _two_layers(classes=2))


def qwen_rm(folder: Path) -> None:
    """Write a `Qwen2ForRewardModel` as Qwen/Qwen2.5-Math-RM-72B is one: two layers over the hidden states."""
    _write_with_head(folder, vocabularies.qwen(), "Qwen2ForRewardModel", _two_layers(classes=1))


def skywork(folder: Path) -> None:
    """Write a `Qwen2ForPrmModel` as Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B is published, before any conversion."""
    vocabulary = vocabularies.qwen(bos_token="<|im_start|>")
    beside = {
        "v_head.summary": torch.nn.Linear(HIDDEN, 1),
        "lm_head": torch.nn.Linear(HIDDEN, vocabulary.size, bias=False),
    }
    weights = {
        f"{of}.{name}": value for of, part in beside.items() for name, value in _filled(part).state_dict().items()
    }
    _write_with_head(folder, vocabulary, "Qwen2ForPrmModel", weights)


def classifier(folder: Path) -> None:
    """Write a `LlamaForSequenceClassification` of two classes."""
    vocabulary = vocabularies.llama()
    config = _llama_config(vocabulary)
    config.num_labels = 2
    _write(folder, _filled(transformers.LlamaForSequenceClassification(config)), vocabulary)


def _llama_config(vocabulary: vocabularies.Vocabulary) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        **SHAPE,
        vocab_size=vocabulary.size,
        max_position_embeddings=131072,
        bos_token_id=128000,
        eos_token_id=128009,
        rms_norm_eps=1e-5,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )


def _two_layers(*, classes: int) -> dict[str, torch.Tensor]:
    head = _filled(
        torch.nn.Sequential(torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, classes))
    )
    return {f"score.{name}": value for name, value in head.state_dict().items()}


def _filled(module: torch.nn.Module) -> torch.nn.Module:
    """Let nothing be zero or one that training would have changed: biases and norms as well."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator) * SHAPE["initializer_range"]
            parameter.copy_(noise + 1.0 if "norm" in name else noise)
    return module


def _write(folder: Path, model: torch.nn.Module, vocabulary: vocabularies.Vocabulary) -> None:
    model.save_pretrained(folder)
    vocabulary.save(folder)


def _write_with_head(
    folder: Path, vocabulary: vocabularies.Vocabulary, architecture: str, weights: Mapping[str, torch.Tensor]
) -> None:
    config = transformers.Qwen2Config(
        **SHAPE,
        vocab_size=vocabulary.size,
        max_position_embeddings=4096,
        rope_theta=10000.0,
        bos_token_id=151643,
        eos_token_id=151645,
    )
    body = _filled(transformers.Qwen2Model(config)).state_dict()
    weights = {f"model.{name}": value for name, value in body.items()} | dict(weights)
    vocabulary.save(folder)
    config.architectures = [architecture]
    config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
