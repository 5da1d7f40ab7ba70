"""A causal language model that says after each step which of two label tokens comes next.

The score is P(good) / (P(good) + P(bad)) as the next token after the step's separator: Math-Shepherd (Wang et al.
2023, arXiv:2312.08935) reads its `+` and `-` at a step tag in the same way. Labels never enter the context, so what
was read for one step stays in the engine's prefix cache for the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from reward_models.protocol import Ids, NextToken


@dataclass(frozen=True, slots=True)
class LabelToken:
    """The family's three texts: label for 'right so far', label for 'wrong', and what follows each step."""

    good_token: str
    bad_token: str
    step_separator: str

    def step(self, text: str) -> str:
        """Return the step without separator and surrounding white space: they are added back as token ids."""
        return text.strip().removesuffix(self.step_separator.strip()).strip()

    def texts(self) -> Mapping[str, str]:
        """Return labels and separator."""
        return {**self.labels(), "step_separator": self.step_separator}

    def labels(self) -> Mapping[str, str]:
        """Return both labels."""
        return {"good_token": self.good_token, "bad_token": self.bad_token}

    def bind(self, ids: Mapping[str, Ids]) -> "LabelTokenModel":
        """Raise `ValueError` where a label is not one token, or both labels are the same one."""
        for field, label in self.labels().items():
            if len(ids[field]) != 1:
                raise ValueError(f"{field} {label!r} is {len(ids[field])} tokens {list(ids[field])}, not one")
        if ids["good_token"] == ids["bad_token"]:
            raise ValueError(f"good_token and bad_token are both token {ids['good_token'][0]}")
        return LabelTokenModel(ids["good_token"] + ids["bad_token"], ids["step_separator"])


@dataclass(frozen=True, slots=True)
class LabelTokenModel:
    """`labels` is (good, bad); `separator` ends each step, the last one included."""

    labels: Ids
    separator: Ids

    def requests(self, question: Ids, steps: Sequence[Ids], first: int) -> Sequence[NextToken]:
        """Return one prompt per step: the question, and every step up to it followed by the separator."""
        requests = []
        prompt = question
        for index, step in enumerate(steps):
            prompt = prompt + step + self.separator
            if index >= first:
                requests.append(NextToken(prompt, self.labels))
        return requests

    def score(self, logprobs: Sequence[float]) -> float:
        """Softmax over the two labels: 1 / (1 + exp(log P(bad) - log P(good))), computed without overflow."""
        good, bad = logprobs
        if good >= bad:
            return 1.0 / (1.0 + exp(bad - good))
        odds = exp(good - bad)
        return odds / (1.0 + odds)
