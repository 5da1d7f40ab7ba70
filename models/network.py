"""A small Llama: the architecture that vLLM serves, in the few lines that training needs."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 32  # vLLM's CPU attention supports 32 and 64, not 16
ROPE_BASE = 10000.0
EPSILON = 1e-5
CONTEXT = 512


@dataclass(frozen=True)
class Size:
    """Width (a multiple of HEAD), layers, and width of the feed-forward part."""

    width: int
    layers: int
    hidden: int


POLICY = Size(width=128, layers=6, hidden=320)
REWARD = Size(width=128, layers=9, hidden=320)  # the policy, and three layers on top to compare what it knows

Cache = list[tuple[Tensor, Tensor]]


def rotary(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, shape (..., HEAD), for integer positions (...)."""
    rates = ROPE_BASE ** (-torch.arange(0, HEAD, 2, dtype=torch.float32) / HEAD)
    angles = positions[..., None].float() * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in Hugging Face's half-split form."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Block(nn.Module):
    """One layer: attention, then a gated feed-forward part, each after a norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        w, h = size.width, size.hidden
        self.norm_in = nn.Parameter(torch.ones(w))
        self.norm_post = nn.Parameter(torch.ones(w))
        self.q, self.k, self.v = (nn.Parameter(torch.randn(w, w) * w**-0.5) for _ in range(3))
        self.o = nn.Parameter(torch.zeros(w, w))
        self.gate, self.up = (nn.Parameter(torch.randn(h, w) * w**-0.5) for _ in range(2))
        self.down = nn.Parameter(torch.zeros(w, h))

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x.shape
        y = F.rms_norm(x, (width,), self.norm_in, EPSILON)
        q, k, v = (
            F.linear(y, weight).view(batch, length, -1, HEAD).transpose(1, 2) for weight in (self.q, self.k, self.v)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + F.linear(y.transpose(1, 2).reshape(batch, length, width), self.o)
        y = F.rms_norm(x, (width,), self.norm_post, EPSILON)
        return x + F.linear(F.silu(F.linear(y, self.gate)) * F.linear(y, self.up), self.down), (k, v)


class Llama(nn.Module):
    """Token ids (batch, length) to next-token logits (batch, length, vocabulary)."""

    def __init__(self, size: Size, vocabulary: int) -> None:
        super().__init__()
        self.size = size
        self.embedding = nn.Parameter(torch.randn(vocabulary, size.width) * 0.02)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.Parameter(torch.ones(size.width))

    def grow_from(self, smaller: dict[str, Tensor]) -> None:
        """Takes over a shallower model's weights; the layers above start as the identity."""
        missing, unexpected = self.load_state_dict(smaller, strict=False)
        if unexpected or not all(name.startswith("blocks.") for name in missing):
            raise ValueError(f"not a shallower model of this width: {unexpected or missing}")

    def forward(self, ids: Tensor) -> Tensor:
        logits, _ = self.advance(ids, torch.arange(ids.shape[1])[None], None, None)
        return logits

    def advance(self, ids: Tensor, positions: Tensor, mask: Tensor | None, past: Cache | None) -> tuple[Tensor, Cache]:
        """Logits for `ids` that follow the cached tokens; positions (batch or 1, length), mask as in torch's SDPA."""
        cos, sin = rotary(positions)
        cos, sin = cos[:, None], sin[:, None]
        x = F.embedding(ids, self.embedding)
        cache: Cache = []
        for i, block in enumerate(self.blocks):
            x, kept = block(x, cos, sin, mask, past[i] if past else None)
            cache.append(kept)
        return F.linear(F.rms_norm(x, (self.size.width,), self.norm, EPSILON), self.embedding), cache
