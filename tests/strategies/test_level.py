"""What is kept of a level, and how early: by hand, and by trying everything that can still come."""

from collections.abc import Iterator
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.cost import Cost, Lengths
from strategies.level import Pending, Standing, cost_of_levels, keep
from strategies.protocol import Path

GRID = (0.0, 0.25, 0.5, 1.0)


def paths(kept: list[tuple[Standing, int]] | None) -> list[tuple[Path, int]] | None:
    """What is kept, by path."""
    return None if kept is None else [(one.path, held) for one, held in kept]


def test_the_best_are_kept() -> None:
    """0.9 and the earlier one of two with 0.5."""
    known = [Standing((0,), 0.5), Standing((1,), 0.5), Standing((2,), 0.9)]
    assert paths(keep(known, [], 2)) == [((2,), 1), ((0,), 1)]


def test_duplicates_hold_a_place_each() -> None:
    """Three samples wrote the best, of three places they hold all; of four, one is left."""
    known = [Standing((0,), 0.5), Standing((1,), 0.9, samples=3)]
    assert paths(keep(known, [], 2)) == [((1,), 2)]
    assert paths(keep(known, [], 3)) == [((1,), 3)]
    assert paths(keep(known, [], 4)) == [((1,), 3), ((0,), 1)]


def test_fewer_than_there_are_places_for() -> None:
    """Where samples were lost, places stay empty."""
    assert paths(keep([Standing((0,), 0.5)], [], 4)) == [((0,), 1)]
    assert keep([], [], 4) == []


def test_what_cannot_reach_the_kept_is_not_waited_for() -> None:
    """At most 0.4 against a worst of 0.5."""
    known = [Standing((0, 0), 0.9), Standing((1, 0), 0.5)]
    assert paths(keep(known, [Pending((2, 0), 0.4)], 2)) == [((0, 0), 1), ((1, 0), 1)]


def test_a_tie_goes_to_the_earlier_one_whoever_comes_first() -> None:
    """A pending one with the same bound is waited for only if its path is before."""
    known = [Standing((1, 0), 0.5)]
    assert keep(known, [Pending((0, 0), 0.5)], 1) is None
    assert keep(known, [Pending((2, 0), 0.5)], 1) is not None


def test_a_possible_duplicate_is_waited_for() -> None:
    """A sibling that may come to the same value may have written the same, and would vote with it."""
    assert keep([Standing((1, 0), 0.5)], [Pending((1, 1), 0.5)], 1) is None


Level = tuple[list[Standing], list[Pending]]


@st.composite
def levels(draw: st.DrawFn) -> Level:
    """Up to six samples of two parents, some of them pending, whose bounds are no less than their siblings' values."""
    known, pending = list[Standing](), list[tuple[Path, float]]()
    for place in range(draw(st.integers(0, 6))):
        path = draw(st.integers(0, 1)), place
        if draw(st.booleans()) or len(pending) == 3:
            known.append(Standing(path, draw(st.sampled_from(GRID)), draw(st.integers(1, 2))))
        else:
            pending.append((path, draw(st.sampled_from(GRID))))
    bounded = []
    for path, bound in pending:
        siblings = [one.value for one in known if one.path[0] == path[0]]
        bounded.append(Pending(path, max([bound, *siblings])))
    return known, bounded


def completions(known: list[Standing], pending: list[Pending]) -> Iterator[list[Standing]]:
    """Every way in which what is pending can end: lost, a value of its own, or the same text as a known sibling."""
    choices: list[list[float | Standing | None]] = []
    for one in pending:
        siblings = [sibling for sibling in known if sibling.path[0] == one.path[0]]
        choices.append([None, *(value for value in GRID if value <= one.bound), *siblings])
    for ends in product(*choices):
        level = {one.path: [one] for one in known}
        for one, end in zip(pending, ends, strict=True):
            if isinstance(end, Standing):
                level[end.path].append(Standing(one.path, end.value))
            elif end is not None:
                level[one.path] = [Standing(one.path, end)]
        yield [
            Standing(min(one.path for one in group), group[0].value, sum(one.samples for one in group))
            for group in level.values()
        ]


def plainly_kept(level: list[Standing], places: int) -> list[tuple[Standing, int]]:
    """The best, sample by sample."""
    ordered = sorted(level, key=lambda one: (-one.value, one.path))
    samples = [one for one in ordered for _ in range(one.samples)][:places]
    return [(one, samples.count(one)) for one in ordered if one in samples]


@settings(max_examples=300, deadline=None)
@given(levels(), st.integers(1, 4))
def test_a_level_ends_exactly_when_it_is_certain(level: Level, places: int) -> None:
    """Neither earlier nor later than by trying every way in which it can end; and then with what all of them keep."""
    ends = [plainly_kept(completed, places) for completed in completions(*level)]
    certain = all(end == ends[0] for end in ends)
    assert keep(*level, places) == (ends[0] if certain else None)


def test_cost_of_levels() -> None:
    """Two wide, three steps of 10 tokens after a prompt of 5; one more step below each but the last."""
    lengths = Lengths(prompt=5, candidate=30, step=10)
    assert cost_of_levels(2, 0, lengths) == Cost(2 * 30, 2 * (15 + 25 + 35))
    assert cost_of_levels(2, 1, lengths) == Cost(2 * (30 + 20), 2 * (15 + 25 + 35) + 2 * (25 + 35))


def test_no_lookahead_goes_beyond_the_end() -> None:
    """However far it may look: below the first of three steps there are two, below the second one."""
    lengths = Lengths(prompt=5, candidate=30, step=10)
    assert cost_of_levels(1, 64, lengths) == cost_of_levels(1, 2, lengths) == Cost(60, 75 + (25 + 35) + 35)
