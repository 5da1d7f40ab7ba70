"""Trains the policy or the reward model: `python -m models.train policy --run RUN --steps N`.

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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from models.examples import Example, Examples
from models.network import POLICY, REWARD, Llama
from models.optimizer import Muon
from models.tokenizer import build_tokenizer

CHUNK = 8  # examples of similar length that share one forward pass
SAVE_SECONDS = 120
WARM_UP = 40


@dataclass(frozen=True)
class Plan:
    """How a run goes: `peak` is its share of the optimizer's learning rates, `decay` the share of steps with falling
    rate, `drills` the lines of bare arithmetic in each batch; problems have up to three steps until step `short`, then
    one more every `lengthen` steps, up to eight."""

    peak: float
    decay: float
    drills: int
    short: int
    lengthen: int

    def longest(self, step: int) -> int:
        return max(3, min(8, 3 + (step - self.short) // self.lengthen))

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rate: warm-up, a constant stretch, linear decay to zero."""
        return self.peak * min(1.0, (step + 1) / WARM_UP, (steps - step) / (self.decay * steps))


PLANS = {"policy": Plan(1.0, 0.28, 8, 1800, 120), "reward": Plan(0.8, 0.6, 0, -1000, 100)}


def padded(rows: list[np.ndarray]) -> Tensor:
    """The rows as one tensor (rows, longest), padded on the right with zeros."""
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)


def loss_of(logits: Tensor, examples: list[Example], labels: tuple[int, int]) -> Tensor:
    """Summed, weighted cross-entropy of next words, and of the two label tokens (good, bad) against each other."""
    good, bad = labels
    targets, weights = padded([e.targets for e in examples]), padded([e.weights for e in examples])
    words = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none") * weights.flatten()
    marks, marked = padded([e.marks for e in examples]), padded([e.marked for e in examples])
    odds = logits[..., good] - logits[..., bad]
    total: Tensor = words.sum() + F.binary_cross_entropy_with_logits(odds, marks.to(odds), marked, reduction="sum")
    return total


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


def train(
    run: Run,
    draw: Callable[[random.Random, int], list[Example]],
    labels: tuple[int, int],
    plan: Plan,
    steps: int,
    seed: int,
) -> None:
    """Trains until `steps`, printing loss and speed every 50 steps."""
    saved = started = time.monotonic()
    tokens, total, count = 0, 0.0, 0.0
    while run.step < steps:
        longest = plan.longest(run.step)
        examples = sorted(draw(random.Random(f"{seed}/{run.step}"), longest), key=lambda example: len(example.ids))
        weight = sum(float(example.weights.sum() + example.marked.sum()) for example in examples)
        for i in range(0, len(examples), CHUNK):
            chunk = examples[i : i + CHUNK]
            ids = padded([example.ids for example in chunk])
            loss = loss_of(run.forward(ids), chunk, labels)
            torch.autograd.backward(loss / weight)
            tokens += ids.numel()
            total += loss.item()
        count += weight
        run.optimizer.step(plan.rate(run.step, steps))
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
    parser.add_argument("--policy", type=Path, help="reward only: state.pt of the policy to start from")
    parser.add_argument("--samples", type=Path, help="reward only: the policy's own samples, see models.own_samples")
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler; the policy trains 1.25 times as fast"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.what == "reward" and not (arguments.policy and arguments.samples):
        parser.error("reward needs --policy and --samples; train the policy and run models.own_samples first")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer()
    examples, plan = Examples(tokenizer), PLANS[arguments.what]
    model = Llama(POLICY if arguments.what == "policy" else REWARD, tokenizer.get_vocab_size())
    own: list[Example] = []
    if arguments.what == "reward":
        model.grow_from(torch.load(arguments.policy)["model"])
        own = examples.own(arguments.samples)
    one = examples.policy if arguments.what == "policy" else examples.reward

    def draw(rng: random.Random, longest: int) -> list[Example]:
        drawn = [examples.drill(rng) for _ in range(plan.drills)]
        share = arguments.batch // 2 if own else 0
        return drawn + rng.choices(own, k=share) + [one(rng, longest) for _ in range(arguments.batch - share)]

    forward = torch.compile(model, dynamic=True) if arguments.compile else model
    run = Run(arguments.run, model, Muon(model), forward)
    run.resume()
    train(run, draw, (examples.good, examples.bad), plan, arguments.steps, arguments.seed)


if __name__ == "__main__":
    main()
