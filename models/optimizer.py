"""Muon for the hidden matrices, AdamW for embedding and norms: about half the tokens that AdamW alone needs.

Source: Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), quintic Newton-Schulz.
"""

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, shape (n, rows, columns), by five Newton-Schulz iterations."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if matrices.shape[-2] > matrices.shape[-1] else x
    return result


class Muon:
    """Steps a model's matrices by orthogonalised momentum and everything else by AdamW, with one shared schedule."""

    def __init__(self, model: nn.Module, matrix_rate: float = 0.02, other_rate: float = 0.004) -> None:
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name != "embedding"]
        self.groups = [[p for p in matrices if p.shape == shape] for shape in dict.fromkeys(p.shape for p in matrices)]
        self.momenta = [torch.zeros(len(group), *group[0].shape) for group in self.groups]
        others = [p for name, p in named if p.ndim == 1 or name == "embedding"]
        self.adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0.0)
        self.matrix_rate, self.other_rate = matrix_rate, other_rate

    @torch.no_grad()
    def step(self, share: float) -> None:
        """One update at `share` (0 to 1) of the peak learning rates, then clears the gradients."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalise(gradient.lerp(momentum, MOMENTUM))
            rate = self.matrix_rate * share * max(1.0, update.shape[-2] / update.shape[-1]) ** 0.5
            for p, change in zip(group, update, strict=True):
                p.mul_(1 - 0.05 * rate).sub_(rate * change)
                p.grad = None
        for part in self.adam.param_groups:
            part["lr"] = self.other_rate * share
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"momenta": self.momenta, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.momenta = state["momenta"]
        self.adam.load_state_dict(state["adam"])
