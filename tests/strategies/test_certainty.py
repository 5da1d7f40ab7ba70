"""The arithmetic of scores without a reward model, against values worked out by hand."""

from math import inf, log, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.certainty import Certainty


def test_mean_logprob_is_the_mean_over_sampled_tokens() -> None:
    """Three tokens at -0.1, -0.2 and -0.6; what else was probable does not matter."""
    mean = Certainty(0)
    for sampled in (-0.1, -0.2, -0.6):
        mean.add(sampled, (-inf,))
    assert mean.value == pytest.approx(-0.3)


def test_self_certainty_by_hand() -> None:
    """Two tokens, k = 2: -(log(2 * 1/2) + log(2 * 1/4) + log(2 * 3/4) + log(2 * 1/8)) / 4."""
    certainty = Certainty(2)
    certainty.add(-9.0, (log(1 / 2), log(1 / 4)))
    certainty.add(-9.0, (log(3 / 4), log(1 / 8)))
    assert certainty.value == pytest.approx(-(log(1) + log(1 / 2) + log(3 / 2) + log(1 / 4)) / 4)


def test_before_the_first_token_there_is_no_value() -> None:
    """Nothing written is not a score of 0."""
    assert Certainty(0).value is None
    assert Certainty(5).value is None


def test_exactly_the_k_most_probable_count() -> None:
    """An engine that adds the sampled token to its list changes nothing, whatever the order."""
    asked, more = Certainty(2), Certainty(2)
    asked.add(-5.0, (-0.5, -1.5))
    more.add(-5.0, (-5.0, -0.5, -1.5))
    assert more.value == asked.value


def test_a_small_vocabulary_is_taken_whole() -> None:
    """Of two possible tokens, self_certainty@20 is self_certainty@2."""
    wide, narrow = Certainty(20), Certainty(2)
    for certainty in (wide, narrow):
        certainty.add(-0.1, (-0.1, -2.35))
    assert wide.value == narrow.value


@pytest.mark.parametrize("bad", [-inf, nan])
def test_a_masked_token_does_not_poison_the_mean(bad: float) -> None:
    """It raises, and the value stays that of the tokens before."""
    mean, certainty = Certainty(0), Certainty(2)
    mean.add(-0.5, ())
    certainty.add(-0.5, (-0.5, -1.5))
    before = certainty.value
    with pytest.raises(ValueError, match="not finite"):
        mean.add(bad, ())
    with pytest.raises(ValueError, match="not finite"):
        certainty.add(-0.5, (-0.5, bad))
    assert mean.value == -0.5
    assert certainty.value == before


def test_an_engine_that_gives_no_top_tokens_is_refused() -> None:
    """Without them there is no self-certainty."""
    with pytest.raises(ValueError, match="no most probable tokens"):
        Certainty(3).add(-0.5, ())


@given(st.lists(st.lists(st.floats(0.001, 1), min_size=4, max_size=4), min_size=1, max_size=6))
def test_self_certainty_is_never_negative(rows: list[list[float]]) -> None:
    """Whatever the distribution over the k tokens, by the inequality of arithmetic and geometric means."""
    certainty = Certainty(4)
    for row in rows:
        certainty.add(0.0, [log(p / max(1.0, sum(row))) for p in row])
    assert certainty.value is not None
    assert certainty.value >= 0


def test_equally_likely_tokens_have_no_certainty() -> None:
    """The value is 0 exactly, not a negative rounding error."""
    for top in range(1, 21):
        certainty = Certainty(top)
        certainty.add(log(1 / top), [log(1 / top)] * top)
        assert certainty.value == pytest.approx(0, abs=1e-12)
        assert certainty.value is not None
        assert certainty.value >= 0
