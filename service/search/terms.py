"""What one search is given: its question, how it is sampled, and its limits."""

from collections.abc import Callable
from dataclasses import dataclass

from service.search.ports import Sampling
from service.settings import StepForm
from strategies.certainty import Certainty


@dataclass(frozen=True, slots=True)
class Terms:
    """`max_tokens` caps each candidate; `deadline` is on the event loop's clock; `eager`: its steps are waited for.

    `certainty` makes what judges a candidate by the policy's own log-probabilities, where that is wanted. `whole`: a
    solution is told as one step when it has ended, since it is judged as a whole. `exact`: the answer is the whole
    text, so that one which was cut off holds none.
    """

    prompt: tuple[int, ...]
    question: str
    form: StepForm
    sampling: Sampling
    seed: int
    max_tokens: int
    parallel: int | None
    deadline: float
    eager: bool = True
    certainty: Callable[[], Certainty] | None = None
    whole: bool = False
    exact: bool = False
