"""A strategy and a reward model as a user would write them, and scripted engines to try them with."""

MODULE = '''
from typing import Literal

from strategies.flat import Flat
from strategies.selection import in_order
from strategies.spec import Spec


class Mine(Spec):
    name: Literal["mine"] = "mine"
    samples: int = 2
    needs_scores = property(lambda self: False)
    candidates = property(lambda self: self.samples)

    def build(self, score, *, returned=1, seed=0):
        return Flat(self.samples, in_order)


class MyPRM:
    """Longer steps are better."""

    reads = "step"

    async def price(self, question, steps, first):
        return len(steps) - first

    async def score(self, question, steps, first, bill):
        bill.prompt, bill.exact = len(steps) - first, True
        return tuple(min(1.0, len(step) / 100) for step in steps[first:])


class NeedsArguments(MyPRM):
    def __init__(self, path):
        self.path = path


NUMBER = 7
'''

SOLUTIONS = [
    "Two and two make three.\n\nSo \\boxed{3}.",
    "Two and two make four.\n\nSo \\boxed{4}.",
    "Count them: four of them.\n\nSo \\boxed{4}.",
    "Count.\n\nIt is \\boxed{4}.",
]
