"""Beam search without levels: promotions checked by hand."""

from inspect import cleandoc

from golden import rendered, scripted
from tree_world import World, play

from strategies.beam_search import BeamSearch
from strategies.halving import Halving
from strategies.protocol import Paused, Refused, Sample, Scored, Step
from strategies.spec import ScoreSpec


def searched(spec: BeamSearch, world: World) -> Halving:
    """Return the search at its end."""
    search = spec.build(ScoreSpec())
    assert isinstance(search, Halving)
    play(search, world)
    return search


def votes(search: Halving) -> dict[str, tuple[float, int]]:
    """Return each answer's weight, and how many candidates gave it, heaviest first."""
    return {vote.answer.key: (round(vote.weight, 9), vote.candidates) for vote in search.votes()}


def test_promotions() -> None:
    """1 is promoted, the better of 0 and 1, before 2 and 3 are known; then 2, the best of four; 3 never is.

    At the second depth 1.0 is promoted first, which is finished, then 2.0, whose value 2.1 only equals.
    """
    world = scripted("""
        0      a      0.2
        1      b      0.3
        2      c      0.9
        3      d      0.8
        1.0    e = 1  0.4
        1.1    f      0.1
        2.0    g      0.9
        2.1    h = 2  0.95
        2.0.0  i = 2  0.6
        2.0.1  j = 3  0.5
    """)
    search = searched(BeamSearch(beams=2, expansions=2, mode="async"), world)
    assert rendered(search) == cleandoc("""
        path   steps  x  scores  value  end
        0      a      1  0.2     0.2
        1      b      1  0.3     0.3
        1.0    e = 1  1  0.4     0.3    = 1
        1.1    f      1  0.1     0.1
        2      c      1  0.9     0.9
        2.0    g      1  0.9     0.9
        2.0.0  i = 2  1  0.6     0.6    = 2
        2.0.1  j = 3  1  0.5     0.5    = 3
        2.1    h = 2  1  0.95    0.9    = 2
        3      d      1  0.8     0.8
    """)
    assert votes(search) == {"2": (0.6, 1), "1": (0.3, 1)}


def test_duplicates() -> None:
    """1 repeats 0, which is extended for both: four children. Who comes first stands for all."""
    world = scripted("""
        0    a      0.9
        1    a      0.9
        2    a      0.9
        3    b      0.1
        0.0  c = 1  0.9
        0.1  c = 1  0.9
        0.2  d = 2  0.7
        0.3  e = 3  0.6
    """)
    search = searched(BeamSearch(beams=2, expansions=2, mode="async"), world)
    assert rendered(search) == cleandoc("""
        path  steps  x  scores  value  end
        0     a      3  0.9     0.9
        0.0   c = 1  2  0.9     0.9    = 1
        0.1   c = 1  1  0.9     0.9    as 0.0
        0.2   d = 2  1  0.7     0.7    = 2
        0.3   e = 3  1  0.6     0.6    = 3
        1     a      1  0.9     0.9    as 0
        2     a      1  0.9     0.9    as 0
        3     b      1  0.1     0.1
    """)
    assert votes(search) == {"1": (1.8, 2)}


def test_what_is_lost_holds_up_no_promotion() -> None:
    """Of two the better one was never scored: 1 is promoted, as in a strict level."""
    search = BeamSearch(beams=1, expansions=2, mode="async").build(ScoreSpec())
    search.begin()
    for place in (0, 1):
        search.on(Step((place,), 0, f"{place}"))
        search.on(Paused((place,)))
    assert search.on(Scored((1,), 0, (0.4,))) == []
    assert search.on(Refused((0,), "score", "length")) == [Sample((1, 0), None, 1), Sample((1, 1), None, 1)]
