"""The sizes of the models that deploy/profiles name, from their published config.json, and what follows from them.

The key-value sizes of reward models are also in `reward_models.presets`; a test compares both.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_NUMBER = 2
"""bfloat16: `torch_dtype` of all of them, and what vLLM keeps keys and values in."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of the Llama or Qwen2 kind. `head` counts the parameters after the body; `None`: a language model's."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    biased: bool
    head: int | None = None

    @property
    def head_size(self) -> int:
        """Numbers per attention head; all models here have hidden = heads x head size."""
        return self.hidden // self.heads

    @property
    def parameters(self) -> int:
        """Count all parameters: embedding, layers, norms and head."""
        key_value = self.key_value_heads * self.head_size
        attention = 2 * self.hidden**2 + 2 * self.hidden * key_value
        biases = self.hidden + 2 * key_value if self.biased else 0
        layer = attention + biases + 3 * self.hidden * self.inner + 2 * self.hidden
        embedding = self.vocabulary * self.hidden
        head = (0 if self.tied else embedding) if self.head is None else self.head
        return embedding + self.layers * layer + self.hidden + head

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the weights on the card."""
        return self.parameters * BYTES_PER_NUMBER

    @property
    def cached_numbers(self) -> int:
        """Return how many numbers vLLM keeps of each token: keys and values of every layer."""
        return 2 * self.layers * self.key_value_heads * self.head_size

    @property
    def bytes_per_token(self) -> int:
        """Return the bytes of one token's keys and values."""
        return self.cached_numbers * BYTES_PER_NUMBER


def _qwen(size: str, *, tied: bool, head: int | None = None) -> Shape:
    if size == "1.5B":
        return Shape(1536, 8960, 28, 12, 2, 151_936, tied, True, head)
    return Shape(3584, 18_944, 28, 28, 4, 152_064, tied, True, head)


SHAPES = {
    "Qwen/Qwen2.5-Math-1.5B-Instruct": _qwen("1.5B", tied=True),
    "Qwen/Qwen2.5-Math-7B-Instruct": _qwen("7B", tied=False),
    # Two linear maps, hidden x hidden and hidden x 2, each with a bias.
    "Qwen/Qwen2.5-Math-PRM-7B": _qwen("7B", tied=False, head=3584 * 3584 + 3584 + 3584 * 2 + 2),
    # One linear map, hidden x 1, with a bias.
    "Skywork-o1-Open-PRM-Qwen-2.5-1.5B": _qwen("1.5B", tied=True, head=1536 + 1),
    # As the Qwen models that they were made from, but the output has weights of its own.
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _qwen("1.5B", tied=False),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _qwen("7B", tied=False),
    "meta-llama/Llama-3.2-1B-Instruct": Shape(2048, 8192, 16, 32, 8, 128_256, True, False),
    "meta-llama/Llama-3.2-3B-Instruct": Shape(3072, 8192, 28, 24, 8, 128_256, True, False),
    "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data": Shape(4096, 14_336, 32, 32, 8, 128_256, False, False),
}
"""By the name that a profile loads the model by; a folder by its own name."""
