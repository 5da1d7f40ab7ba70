"""How sure a measured figure is, where no formula says so: the same figure of many random draws."""

from collections.abc import Callable
from math import ceil
from random import Random

DRAWS = 1000


def interval_95(figure: Callable[[Random], float | None]) -> tuple[float, float] | None:
    """Return the 2.5 % and 97.5 % quantiles of what `figure` comes to in `DRAWS` random draws, which it makes itself.

    They are the same each time. A draw of which nothing can be said (`None`) does not count; `None` where that is all
    of them.
    """
    rng = Random(0)
    values = sorted(value for value in (figure(rng) for _ in range(DRAWS)) if value is not None)
    if not values:
        return None
    return values[int(0.025 * len(values))], values[ceil(0.975 * len(values)) - 1]
