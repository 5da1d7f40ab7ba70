"""Token ids, targets and weights of one training example."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.checker import error_place
from models.problems import solve
from models.tokenizer import BAD, EOS, GOOD, SEPARATOR, prompt_text
from models.traces import author_trace, corrupted_trace, draw_equations, draw_training_problem

LABEL_WEIGHT, WORD_LABEL_WEIGHT = 4.0, 0.5  # of a label at a separator, and at a word
AFTERWARDS = 0.05  # share of that in steps after the first wrong one: there it is only carried on


@dataclass(frozen=True)
class Example:
    """Aligned arrays: t predicts word targets[t] with weights[t], and label marks[t] (1 is right) with marked[t]."""

    ids: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    marks: np.ndarray
    marked: np.ndarray

    @classmethod
    def of_words(cls, ids: np.ndarray, weights: np.ndarray) -> "Example":
        """An example without labels: each id but the last predicts the next, with `weights` (one less than ids)."""
        return cls(ids[:-1], ids[1:], weights, np.zeros_like(weights), np.zeros_like(weights))


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
        return Example.of_words(ids, weights)

    def policy(self, rng: random.Random, longest: int) -> Example:
        """A fallible author's solution; every token of it is learnt, the question is not."""
        problem = draw_training_problem(rng, longest)
        prompt = self.encode(prompt_text(problem.text))
        ids = np.array(prompt + self.encode(SEPARATOR.join(author_trace(problem, rng))) + [self.eos])
        weights = np.ones(len(ids) - 1, dtype=np.float32)
        weights[: len(prompt) - 1] = 0
        return Example.of_words(ids, weights)

    def reward(self, rng: random.Random, longest: int) -> Example:
        """A corrupted (70 %) or right trace: labels, and the words of right steps."""
        problem = draw_training_problem(rng, longest)
        if rng.random() < 0.7:
            steps, labels = corrupted_trace(problem, rng)
        else:
            steps = solve(problem)
            labels = [True] * len(steps)
        error = 0 if all(labels) else error_place(problem, steps[labels.index(False)])
        return self.labelled(problem.text, steps, labels, error, word_weight=0.5)

    def own(self, file: Path) -> list[Example]:
        """The policy's labelled samples as models.own_samples wrote them."""
        rows = (row for line in file.read_text().splitlines() for row in json.loads(line))
        return [self.labelled(row["question"], row["steps"], row["labels"], row["error"], 0.0) for row in rows]

    def labelled(self, question: str, steps: list[str], labels: list[bool], error: int, word_weight: float) -> Example:
        """Labels at every position of the solution: is everything up to this token right?

        `error` is the place, in characters, where the first wrong step goes wrong. At a separator the label is the one
        that counts in use. No label is ever part of the context.
        """
        ids = self.encode(prompt_text(question))
        weights, marks, marked = [0.0] * len(ids), [0.0] * len(ids), [0.0] * len(ids)
        right = True
        for step, good in zip(steps, labels, strict=True):
            words = self.tokenizer.encode(step + SEPARATOR, add_special_tokens=False)
            share = 1.0 if right else AFTERWARDS
            fine = [right and (good or end <= error) for _, end in words.offsets]
            right = right and good
            fine[-1] = right
            ids += words.ids
            weights += [word_weight * right] * (len(words.ids) - 1) + [0.0]
            marks += map(float, fine)
            marked += [share * WORD_LABEL_WEIGHT] * (len(words.ids) - 1) + [share * LABEL_WEIGHT]
        return Example(*map(np.array, (ids, [*ids[1:], 0], weights, marks, marked)))
