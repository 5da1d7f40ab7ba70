"""Token ids, targets and weights of one training example."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.problems import solve
from models.tokenizer import BAD, EOS, GOOD, SEPARATOR, prompt_text
from models.traces import author_trace, corrupted_trace, draw_equations, draw_training_problem

LABEL_WEIGHT = 4.0


@dataclass(frozen=True)
class Example:
    """Aligned arrays: position t predicts targets[t] with weights[t] (0 where nothing is learnt)."""

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Examples:
    """Turns problems into examples for the policy and for the reward model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.eos, self.good, self.bad = (vocabulary[token] for token in (EOS, GOOD, BAD))

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def drill(self, rng: random.Random) -> Example:
        """A line of bare equations, of which the results are learnt: arithmetic for a third of the tokens."""
        ids = np.array(self.encode(draw_equations(rng, 14)))
        weights = np.zeros(len(ids) - 1, dtype=np.float32)
        equals, stop = self.tokenizer.token_to_id(" ="), self.tokenizer.token_to_id(".")
        in_result = False
        for t, token in enumerate(ids[:-1]):
            in_result = token == equals or (in_result and token != stop)
            weights[t] = in_result
        return Example(ids[:-1], ids[1:], weights)

    def policy(self, rng: random.Random, longest: int) -> Example:
        """A fallible author's solution; every token of it is learnt, the question is not."""
        problem = draw_training_problem(rng, longest)
        prompt = self.encode(prompt_text(problem.text))
        ids = np.array(prompt + self.encode(SEPARATOR.join(author_trace(problem, rng))) + [self.eos])
        weights = np.ones(len(ids) - 1, dtype=np.float32)
        weights[: len(prompt) - 1] = 0
        return Example(ids[:-1], ids[1:], weights)

    def reward(self, rng: random.Random, longest: int) -> Example:
        """A corrupted (70 %) or right trace: labels at each separator, and the words of right steps."""
        problem = draw_training_problem(rng, longest)
        if rng.random() < 0.7:
            steps, labels = corrupted_trace(problem, rng)
        else:
            steps = solve(problem)
            labels = [True] * len(steps)
        return self.labelled(problem.text, steps, labels, word_weight=1.0)

    def own(self, file: Path) -> list[Example]:
        """The policy's labelled samples as models.own_samples wrote them."""
        lines = (json.loads(line) for line in file.read_text().splitlines())
        return [
            self.labelled(row["question"], row["steps"], row["labels"], word_weight=0.0)
            for line in lines
            for row in line
        ]

    def labelled(self, question: str, steps: list[str], labels: list[bool], word_weight: float) -> Example:
        """Given steps and labels; a label is the target at its separator and never part of the context."""
        ids = self.encode(prompt_text(question))
        targets, weights = [*ids[1:], 0], [0.0] * len(ids)
        for step, right in zip(steps, labels, strict=True):
            words = self.encode(step + SEPARATOR)
            ids += words
            targets += [*words[1:], self.good if right else self.bad]
            weights += [word_weight * right] * (len(words) - 1) + [LABEL_WEIGHT]
        return Example(np.array(ids), np.array(targets), np.array(weights, dtype=np.float32))
