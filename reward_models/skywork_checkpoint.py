"""Turns a Skywork-o1-Open-PRM checkpoint into one that stock vLLM serves as a classifier.

The published folders hold `Qwen2ForPrmModel`: the tensors of a Qwen2 and TRL's value head, `v_head.summary`, one linear
map with a bias (https://github.com/SkyworkAI/skywork-o1-prm-inference, vllm_add_dummy_model/prm_model.py). A
`Qwen2ForSequenceClassification` of one label calls that map `score`; vLLM reads a `score.bias` too (its
model_executor/models/adapters.py), though transformers would not.
"""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 2 * 2**30
"""How much of the model is in memory at once."""

HEAD = {"v_head.summary.weight": "score.weight", "v_head.summary.bias": "score.bias"}
NOT_NEEDED = "lm_head."
BODY = "model."

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def convert(source: Path, target: Path) -> None:
    """Write a checkpoint that vLLM serves to the new folder `target`; the values of all weights stay as they are.

    Raises `ValueError`, with what to do about it, where `source` is no such checkpoint, `target` exists or the disk is
    too small. `target` is there only when it is complete.
    """
    config = _config(source)
    files = _weight_files(source)
    if target.exists():
        raise ValueError(f"{target} exists already: name another folder, or remove it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(file.stat().st_size for file in files), shutil.disk_usage(target.parent).free
    if free < needed:
        raise ValueError(f"{target.parent} has {_gb(free)} left, and the checkpoint takes {_gb(needed)}: make room.")
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _write_weights(files, staging)
        (staging / "config.json").write_text(json.dumps(_served(config), indent=2) + "\n")
        for name in TOKENIZER:
            if (source / name).is_file():
                shutil.copyfile(source / name, staging / name)
        staging.chmod(0o755)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _config(source: Path) -> dict[str, Any]:
    file = source / "config.json"
    if not file.is_file():
        raise ValueError(f"{source} is no checkpoint: download one first, say with `hf download REPO --local-dir DIR`.")
    config = json.loads(file.read_text())
    if config.get("architectures") != ["Qwen2ForPrmModel"]:
        raise ValueError(f"{source} holds {config.get('architectures')}: only Skywork-o1-Open-PRM needs converting.")
    return dict(config)


def _served(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the classifier; the authors' own code, which `auto_map` names, is not used."""
    kept = {name: value for name, value in config.items() if name != "auto_map"}
    labels = {"id2label": {"0": "right"}, "label2id": {"right": 0}}
    return {**kept, "architectures": ["Qwen2ForSequenceClassification"], **labels}


def _weight_files(source: Path) -> list[Path]:
    """Return the files with the weights, whole or in shards; safetensors where there is a choice."""
    for whole in ("model.safetensors", "pytorch_model.bin"):
        index = source / f"{whole}.index.json"
        if (source / whole).is_file():
            return [source / whole]
        if index.is_file():
            files = [source / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
            if missing := [file.name for file in files if not file.is_file()]:
                raise ValueError(f"{source} lacks {', '.join(missing)}: download it again.")
            return files
    raise ValueError(f"{source} holds no weights: download model.safetensors or pytorch_model.bin as well.")


def _write_weights(files: list[Path], folder: Path) -> None:
    """Write the renamed tensors in shards of at most `SHARD_BYTES`, or one tensor, and the index that names them."""
    from safetensors.torch import save_file

    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(held, folder / _part(len(shards)), metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, tensor in _renamed(files):
        bytes_ = tensor.numel() * tensor.element_size()
        if held and size + bytes_ > SHARD_BYTES:
            flush()
            size = 0
        held[name] = tensor.contiguous()
        size, total = size + bytes_, total + bytes_
    if held:
        flush()
    written = [name for shard in shards for name in shard]
    if "score.weight" not in written:
        raise ValueError(f"{files[0].parent} has no v_head.summary.weight: it is no Skywork-o1-Open-PRM.")
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards):
        final = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        (folder / _part(number)).rename(folder / final)
        weight_map |= dict.fromkeys(shard, final)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _renamed(files: list[Path]) -> "Iterator[tuple[str, Tensor]]":
    for file in files:
        for name, tensor in _tensors(file):
            if name in HEAD:
                yield HEAD[name], tensor
            elif name.startswith(BODY):
                yield name, tensor
            elif not name.startswith(NOT_NEEDED):
                raise ValueError(f"{file} holds {name}, which is no part of Skywork-o1-Open-PRM.")


def _tensors(file: Path) -> "Iterator[tuple[str, Tensor]]":
    """Yield what a file of weights holds, one after the other; what is not kept does not stay in memory."""
    if file.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                yield name, opened.get_tensor(name)
    else:
        import torch

        # A file of the oldest format cannot be mapped: it is read as a whole.
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        yield from weights.items()


def _part(number: int) -> str:
    return f"part-{number}.safetensors"


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
