import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_models import skywork_checkpoint
from reward_models.skywork_checkpoint import convert

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForPrmModel"],
    "auto_map": {"AutoModel": "modeling_qwen2_rm.Qwen2ForRewardModel"},
    "hidden_size": 8,
    "model_type": "qwen2",
    "tie_word_embeddings": True,
}


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "model.embed_tokens.weight": (32, 8),
        "model.norm.weight": (8,),
        "lm_head.weight": (32, 8),
        "v_head.summary.weight": (1, 8),
        "v_head.summary.bias": (1,),
    }
    return {
        name: torch.randn(shape, generator=generator).to(torch.bfloat16 if "model" in name else torch.float32)
        for name, shape in shapes.items()
    }


def checkpoint(folder: Path, **config: object) -> Path:
    """A folder as Skywork publishes it: one file of pickled tensors."""
    folder.mkdir()
    torch.save(weights(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer_config.json").write_text('{"bos_token": "<|im_start|>"}')
    (folder / "modeling_qwen2_rm.py").write_text("raise SystemExit\n")
    return folder


def written(folder: Path) -> dict[str, torch.Tensor]:
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return {name: load_file(folder / file)[name] for name, file in index.items()}


def expected() -> dict[str, torch.Tensor]:
    source = weights()
    return {
        "model.embed_tokens.weight": source["model.embed_tokens.weight"],
        "model.norm.weight": source["model.norm.weight"],
        "score.weight": source["v_head.summary.weight"],
        "score.bias": source["v_head.summary.bias"],
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def test_the_value_head_becomes_the_score_of_a_classifier(tmp_path: Path) -> None:
    """Weights are renamed, never rounded; the language model's head is left out."""
    convert(checkpoint(tmp_path / "a"), tmp_path / "b")
    assert same(written(tmp_path / "b"), expected())


def test_the_configuration_names_a_classifier_of_one_class(tmp_path: Path) -> None:
    """All else stays, save the authors' own code, which is not taken along."""
    convert(checkpoint(tmp_path / "a"), tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config == {
        **{name: value for name, value in CONFIG.items() if name != "auto_map"},
        "architectures": ["Qwen2ForSequenceClassification"],
        "id2label": {"0": "right"},
        "label2id": {"right": 0},
    }


def test_the_tokenizer_comes_along_and_code_does_not(tmp_path: Path) -> None:
    """The folder is a whole model, readable by all as other folders are."""
    convert(checkpoint(tmp_path / "a"), tmp_path / "b")
    names = {file.name for file in (tmp_path / "b").iterdir()}
    assert names == {
        "config.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
        "model-00001-of-00001.safetensors",
    }
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


def test_large_models_are_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a shard is in memory; one tensor is never cut."""
    monkeypatch.setattr(skywork_checkpoint, "SHARD_BYTES", 40)
    convert(checkpoint(tmp_path / "a"), tmp_path / "b")
    files = sorted(file.name for file in (tmp_path / "b").glob("model-*.safetensors"))
    assert files == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert same(written(tmp_path / "b"), expected())


def test_sources_in_safetensors_and_in_shards_are_read(tmp_path: Path) -> None:
    """The hub holds variants of the same checkpoint."""
    source = checkpoint(tmp_path / "a")
    (source / "pytorch_model.bin").unlink()
    halves = {"x.safetensors": list(weights())[:2], "y.safetensors": list(weights())[2:]}
    for file, names in halves.items():
        save_file({name: weights()[name] for name in names}, source / file)
    index = {"weight_map": {name: file for file, names in halves.items() for name in names}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    convert(source, tmp_path / "b")
    assert same(written(tmp_path / "b"), expected())


def test_a_shard_that_lacks_is_named(tmp_path: Path) -> None:
    """A download that was broken off."""
    source = checkpoint(tmp_path / "a")
    (source / "pytorch_model.bin").unlink()
    (source / "pytorch_model.bin.index.json").write_text('{"weight_map": {"x": "pytorch_model-1.bin"}}')
    with pytest.raises(ValueError, match=r"lacks pytorch_model-1\.bin"):
        convert(source, tmp_path / "b")


@pytest.mark.parametrize(
    ("architectures", "complaint"),
    [(["Qwen2ForProcessRewardModel"], "only Skywork-o1-Open-PRM needs converting"), (None, "only Skywork")],
)
def test_other_models_are_refused(tmp_path: Path, architectures: object, complaint: str) -> None:
    """They are served as they are."""
    with pytest.raises(ValueError, match=complaint):
        convert(checkpoint(tmp_path / "a", architectures=architectures), tmp_path / "b")


@pytest.mark.parametrize(("lost", "complaint"), [("config.json", "no checkpoint"), ("pytorch_model.bin", "no weights")])
def test_an_incomplete_source_is_refused(tmp_path: Path, lost: str, complaint: str) -> None:
    """The error names what to do."""
    source = checkpoint(tmp_path / "a")
    (source / lost).unlink()
    with pytest.raises(ValueError, match=complaint):
        convert(source, tmp_path / "b")


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    """Also not where it is empty."""
    source = checkpoint(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="exists already"):
        convert(source, tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v_head.summary.weight": None}, r"no v_head\.summary\.weight"),
        ({"v_head.other": torch.zeros(1)}, r"holds v_head\.other"),
    ],
)
def test_a_target_is_whole_or_not_there(tmp_path: Path, change: dict[str, torch.Tensor | None], complaint: str) -> None:
    """What fails on the way leaves nothing behind."""
    source = checkpoint(tmp_path / "a")
    changed = {name: tensor for name, tensor in (weights() | change).items() if tensor is not None}
    torch.save(changed, source / "pytorch_model.bin")
    with pytest.raises(ValueError, match=complaint):
        convert(source, tmp_path / "b")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 7B model takes 15 GB."""

    class Usage:
        free = 10

    monkeypatch.setattr(skywork_checkpoint.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(ValueError, match=r"0\.0 GB left.*make room"):
        convert(checkpoint(tmp_path / "a"), tmp_path / "b")
