"""How sure a measured share is."""

from math import sqrt

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(correct: int, total: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of `correct` out of `total`: two bounds in [0, 1].

    `total` ≥ 0; of nothing nothing is known: (0, 1). Unlike the normal approximation it stays sensible near
    0, near 1 and for few questions. Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 22.
    """
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    spread = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / spread
    half = z / spread * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)
