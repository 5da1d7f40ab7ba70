"""Samples solutions in batches with a key-value cache, for development sets and for the reward model's own data."""

import torch
from torch import Tensor

from models.network import Llama


@torch.inference_mode()
def sample(
    model: Llama, prompts: list[list[int]], eos: int, temperature: float, generator: torch.Generator, limit: int = 240
) -> list[list[int]]:
    """Continues each prompt until `eos` (not returned) or `limit` tokens; temperature 0 takes the likeliest token."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    real = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], dtype=torch.bool)
    positions = (real.cumsum(1) - 1).clamp(min=0)
    mask = (real[:, None, :] & torch.ones(longest, longest, dtype=torch.bool).tril())[:, None]
    mask = mask | torch.eye(longest, dtype=torch.bool)  # a padded row still needs something to look at
    logits, cache = model.advance(ids, positions, mask, None)
    written: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    for _ in range(limit):
        token = _choose(logits[:, -1], temperature, generator)
        alive = [i for i, t in enumerate(token.tolist()) if t != eos]
        for i in alive:
            written[rows[i]].append(int(token[i]))
        if not alive:
            break
        if len(alive) < len(rows):
            keep = torch.tensor(alive)
            rows = [rows[i] for i in alive]
            cache = [(k[keep], v[keep]) for k, v in cache]
            token, real, positions = token[keep], real[keep], positions[keep]
        real = torch.cat([real, torch.ones(len(rows), 1, dtype=torch.bool)], dim=1)
        positions = positions[:, -1:] + 1
        logits, cache = model.advance(token[:, None], positions, real[:, None, None, :], cache)
    return written


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
