"""Seeds of places."""

from service.search.seeds import place_seed


def test_candidates_of_one_request_have_distinct_seeds() -> None:
    """A client that always sends the same seed still gets distinct candidates."""
    seeds = {place_seed(1234, (i,)) for i in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_place_keeps_its_seed() -> None:
    """A known value: changing the derivation would silently change every published result."""
    assert place_seed(0, (0,)) == 1135576387336077261
    assert place_seed(0, (0, 0)) != place_seed(0, (0,))
