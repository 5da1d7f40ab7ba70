"""Reward models that are known by name: what to load, how vLLM serves it, and how it is read.

Contexts are `max_position_embeddings` of the published config.json, unless a comment says otherwise. Models of 72B want
several cards: give their number as `--tensor-parallel-size` in `flags`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reward_models.classifier import Classifier
from reward_models.label_token import LabelToken
from reward_models.math_shepherd import MathShepherd
from reward_models.protocol import Family
from reward_models.qwen_prm import QwenPRM
from reward_models.qwen_rm import QwenRM
from reward_models.rlhflow import RLHFlow
from reward_models.skywork import Skywork


@dataclass(frozen=True, slots=True)
class Preset:
    """One published reward model.

    `model` is what vLLM loads, `flags` its own arguments for it, `context` the longest prompt it was made for, in
    tokens (`None`: the checkpoint's own limit), `source` where its authors say how it is read, and `cached_numbers` how
    many numbers vLLM keeps of each token: 2 x layers x key-value heads x head size. `convert` is the published
    checkpoint of which `mull reward convert` makes `model`, where vLLM cannot serve it as it is.
    """

    model: str
    family: Family
    source: str
    context: int | None = None
    flags: tuple[str, ...] = ()
    cached_numbers: int = 0
    convert: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """All of vLLM's arguments for it, beside those that every engine gets."""
        limit = () if self.context is None else ("--max-model-len", str(self.context))
        return (*self.flags, *limit)

    @property
    def cached_per_prompt(self) -> int:
        """How many numbers vLLM keeps of a prompt of full length; 0 where that is not known."""
        return self.cached_numbers * (self.context or 0)


POOLING = ("--runner", "pooling")

# The size of 7B and 8B models of each kind, and of the others of Qwen2.5.
MISTRAL, LLAMA = 2 * 32 * 8 * 128, 2 * 32 * 8 * 128
QWEN_1B5, QWEN_7B, QWEN_72B = 2 * 28 * 2 * 128, 2 * 28 * 4 * 128, 2 * 80 * 8 * 128

RLHFLOW = "https://github.com/RLHFlow/RLHF-Reward-Modeling/blob/main/math-rm/prm_evaluate.py"
SKYWORK = "https://github.com/SkyworkAI/skywork-o1-prm-inference"


def _rlhflow(data: str) -> Preset:
    # 8192 is `sequence_len` of the authors' training, math-rm/llama-3.1-prm.yaml.
    model = f"RLHFlow/Llama3.1-8B-PRM-{data}-Data"
    return Preset(model, RLHFlow(), source=RLHFLOW, context=8192, cached_numbers=LLAMA)


def _qwen_prm(model: str, cached_numbers: int) -> Preset:
    source = f"https://huggingface.co/{model}"
    return Preset(model, QwenPRM(), source=source, context=4096, flags=POOLING, cached_numbers=cached_numbers)


def _skywork(size: str, cached_numbers: int) -> Preset:
    name = f"Skywork-o1-Open-PRM-Qwen-2.5-{size}"
    return Preset(
        f"models/{name}",
        Skywork(),
        source=SKYWORK,
        context=4096,
        flags=POOLING,
        cached_numbers=cached_numbers,
        convert=f"Skywork/{name}",
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tiny": Preset("models/tiny-prm", LabelToken(), source="models/README.md"),
        # 4096 is the window of Mistral-7B-v0.1's attention: of a longer prompt it would not see the question.
        "math-shepherd-mistral-7b": Preset(
            "peiyi9979/math-shepherd-mistral-7b-prm",
            MathShepherd(),
            source="https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm",
            context=4096,
            cached_numbers=MISTRAL,
        ),
        "rlhflow-llama3.1-8b-deepseek": _rlhflow("Deepseek"),
        "rlhflow-llama3.1-8b-mistral": _rlhflow("Mistral"),
        "qwen2.5-math-prm-7b": _qwen_prm("Qwen/Qwen2.5-Math-PRM-7B", QWEN_7B),
        "qwen2.5-math-prm-72b": _qwen_prm("Qwen/Qwen2.5-Math-PRM-72B", QWEN_72B),
        "qwen2.5-math-7b-prm800k": _qwen_prm("Qwen/Qwen2.5-Math-7B-PRM800K", QWEN_7B),
        "skywork-o1-1.5b": _skywork("1.5B", QWEN_1B5),
        "skywork-o1-7b": _skywork("7B", QWEN_7B),
        "qwen2.5-math-rm-72b": Preset(
            "Qwen/Qwen2.5-Math-RM-72B",
            QwenRM(),
            source="https://huggingface.co/Qwen/Qwen2.5-Math-RM-72B",
            context=4096,
            flags=POOLING,
            cached_numbers=QWEN_72B,
        ),
        "acemath-7b-rm": Preset(
            "nvidia/AceMath-7B-RM",
            Classifier(system=r"Please reason step by step, and check your final answer within \boxed{}."),
            source="https://huggingface.co/nvidia/AceMath-7B-RM",
            context=4096,
            flags=POOLING,
            cached_numbers=QWEN_7B,
        ),
    }
)
