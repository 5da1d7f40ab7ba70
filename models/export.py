"""Writes a trained checkpoint as a Hugging Face folder: `python -m models.export policy CHECKPOINT FOLDER`."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from models.network import CONTEXT, EPSILON, HEAD, POLICY, REWARD, ROPE_BASE, Size
from models.tokenizer import CHAT_TEMPLATE, EOS, PAD, UNK, build_tokenizer

NAMES = {
    "norm_in": "input_layernorm",
    "norm_post": "post_attention_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def hugging_face_name(name: str) -> str:
    """Our parameter's name in the Llama architecture."""
    if name == "embedding":
        return "model.embed_tokens.weight"
    if name == "norm":
        return "model.norm.weight"
    _, layer, part = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def llama_config(size: Size, vocabulary: int, eos: int, pad: int) -> dict[str, object]:
    """The config.json of a Llama of this size; bfloat16, tied embeddings."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": size.width,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.width // HEAD,
        "num_key_value_heads": size.width // HEAD,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPSILON,
        "rope_theta": ROPE_BASE,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
    }


def export(weights: dict[str, Tensor], size: Size, folder: Path) -> None:
    """Writes config, weights, tokenizer, chat template and generation defaults to `folder`."""
    tokenizer = build_tokenizer()
    eos, pad = tokenizer.get_vocab()[EOS], tokenizer.get_vocab()[PAD]
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {hugging_face_name(name): w.to(torch.bfloat16).contiguous() for name, w in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    documents = {
        "config.json": llama_config(size, tokenizer.get_vocab_size(), eos, pad),
        "generation_config.json": {"do_sample": True, "temperature": 1.0, "eos_token_id": eos, "pad_token_id": pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": EOS,
            "pad_token": PAD,
            "unk_token": UNK,
            "model_max_length": CONTEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("policy", "reward"))
    parser.add_argument("checkpoint", type=Path, help="state.pt of a run")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    weights = torch.load(arguments.checkpoint)["model"]
    export(weights, POLICY if arguments.what == "policy" else REWARD, arguments.folder)


if __name__ == "__main__":
    main()
