import pytest

from service.cli.intervals import wilson


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_gives_the_published_bounds(correct: int, total: int, low: float, high: float) -> None:
    """The bounds agree with Newcombe 1998 (Statistics in Medicine 17, 857-872) to four places."""
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_nothing_measured_is_nothing_known() -> None:
    """Of no questions the interval is everything."""
    assert wilson(0, 0) == (0.0, 1.0)
