"""Trains policy, reward model's trunk, or reward model: `python -m models.train policy --run RUN --steps N`.

A run is a folder. Batches are a pure function of seed and step, and model, optimizer and step are saved together every
two minutes, so a run that was cut goes on exactly where it stopped when the same command is given again.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from models.examples import Example, Examples
from models.network import POLICY, REWARD, Llama
from models.optimizer import Muon
from models.tokenizer import build_tokenizer

CHUNK = 8  # examples of similar length that share one forward pass
SAVE_SECONDS = 120
WARM_UP = 40


@dataclass(frozen=True)
class Plan:
    """How a run goes: share of the steps with falling learning rate, steps per extra problem length, drills a batch."""

    decay: float
    curriculum: int
    drills: int


PLANS = {"policy": Plan(0.35, 250, 8), "trunk": Plan(0.0, 250, 8), "reward": Plan(0.9, 0, 0)}


def learning_rate_share(step: int, steps: int, decay: float) -> float:
    """Warm-up, a constant stretch, then linear decay to zero over the last `decay` of the steps (none if 0)."""
    return min(1.0, (step + 1) / WARM_UP, (steps - step) / (decay * steps) if decay else 1.0)


def padded(examples: list[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, targets and weights, each (examples, longest), padded on the right with zeros."""
    shape = (len(examples), max(len(example.ids) for example in examples))
    ids, targets, weights = (
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape),
    )
    for row, example in enumerate(examples):
        n = len(example.ids)
        ids[row, :n], targets[row, :n] = torch.from_numpy(example.ids), torch.from_numpy(example.targets)
        weights[row, :n] = torch.from_numpy(example.weights)
    return ids, targets, weights


@dataclass
class Run:
    """A folder with the state of one training run."""

    folder: Path
    model: Llama
    optimizer: Muon
    forward: Callable[[Tensor], Tensor]  # the model itself, or compiled
    step: int = 0

    def resume(self) -> None:
        """Goes on from the last saved state, if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "state.pt").exists():
            state = torch.load(self.folder / "state.pt")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]

    def save(self) -> None:
        """Replaces the saved state in one move, so that a cut never leaves half a file."""
        part = self.folder / "state.part"
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}, part
        )
        part.replace(self.folder / "state.pt")


def train(run: Run, draw: Callable[[random.Random, int], list[Example]], plan: Plan, steps: int, seed: int) -> None:
    """Trains until `steps`, printing loss and speed every 50 steps."""
    saved = started = time.monotonic()
    tokens, total, count = 0, 0.0, 0.0
    while run.step < steps:
        longest = min(8, 2 + run.step // plan.curriculum) if plan.curriculum else 8
        examples = sorted(draw(random.Random(f"{seed}/{run.step}"), longest), key=lambda example: len(example.ids))
        weight = sum(float(example.weights.sum()) for example in examples)
        for i in range(0, len(examples), CHUNK):
            ids, targets, weights = padded(examples[i : i + CHUNK])
            losses = F.cross_entropy(run.forward(ids).flatten(0, 1), targets.flatten(), reduction="none")
            loss = (losses * weights.flatten()).sum()
            torch.autograd.backward(loss / weight)
            tokens += ids.numel()
            total += loss.item()
        count += weight
        run.optimizer.step(learning_rate_share(run.step, steps, plan.decay))
        run.step += 1
        if run.step % 50 == 0:
            speed = int(tokens / (time.monotonic() - started))
            print(
                json.dumps({"step": run.step, "loss": round(total / count, 4), "tokens_per_second": speed}), flush=True
            )
            tokens, total, count, started = 0, 0.0, 0.0, time.monotonic()
        if run.step == steps or time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            saved = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=tuple(PLANS))
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; resumed if it exists")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=24, help="problems per step")
    parser.add_argument("--trunk", type=Path, help="reward only: state.pt of the trunk to start from")
    parser.add_argument("--samples", type=Path, help="reward only: the policy's own samples, see models.own_samples")
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler; the policy trains 1.25 times as fast"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "reward" and not (arguments.trunk and arguments.samples):
        parser.error("reward needs --trunk and --samples; train the trunk and run models.own_samples first")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer()
    examples, plan = Examples(tokenizer), PLANS[arguments.what]
    model = Llama(POLICY if arguments.what == "policy" else REWARD, tokenizer.get_vocab_size())
    own: list[Example] = []
    if arguments.what == "reward":
        model.load_state_dict(torch.load(arguments.trunk)["model"])
        own = examples.own(arguments.samples)
    one = examples.policy if arguments.what == "policy" else examples.reward

    def draw(rng: random.Random, longest: int) -> list[Example]:
        drawn = [examples.drill(rng) for _ in range(plan.drills)]
        share = arguments.batch * 2 // 3 if own else 0
        return drawn + rng.choices(own, k=share) + [one(rng, longest) for _ in range(arguments.batch - share)]

    forward = torch.compile(model, dynamic=True) if arguments.compile else model
    run = Run(arguments.run, model, Muon(model), forward)
    run.resume()
    train(run, draw, plan, arguments.steps, arguments.seed)


if __name__ == "__main__":
    main()
