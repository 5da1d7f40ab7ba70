"""Beam search: trees checked by hand."""

from inspect import cleandoc

import pytest
from golden import rendered, scripted
from pydantic import ValidationError
from tree_world import Played, World, play

from strategies.beam_search import BeamSearch
from strategies.protocol import Answer, Ended, Finish, Paused, Refused, Sample, Scored, Step
from strategies.spec import ScoreSpec
from strategies.tree import TreeSearch


def searched(spec: BeamSearch, world: World, score: ScoreSpec | None = None) -> tuple[str, Played]:
    """Return the tree as a table, and how it came about."""
    score = score or ScoreSpec()
    search = spec.build(score)
    played = play(search, world)
    assert isinstance(search, TreeSearch)
    assert score.steps is not None
    return rendered(search, score.steps), played


def votes(played: Played) -> dict[str, tuple[float, int]]:
    """Return each answer's weight, and how many candidates gave it, heaviest first."""
    return {vote.answer.key: (round(vote.weight, 9), vote.candidates) for vote in played.strategy.votes()}


def test_two_beams() -> None:
    """Level by level the two best are kept; 2.0 is displaced at the third level by 0.0.0 and 0.0.1, and still votes."""
    world = scripted("""
        0        a      0.9
        1        b      0.3
        2        c      0.6
        3        d      0.2
        0.0      e      0.8
        0.1      f      0.4
        2.0      g = 7  0.9
        2.1      h      0.5
        0.0.0    i = 8  0.7
        0.0.1    j      0.65
        0.0.1.0  k = 7  0.9
        0.0.1.1  l      0.1
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2), world)
    assert tree == cleandoc("""
        path     steps  x  scores  value  end
        0        a      1  0.9     0.9
        0.0      e      1  0.8     0.8
        0.0.0    i = 8  1  0.7     0.7    = 8
        0.0.1    j      1  0.65    0.65
        0.0.1.0  k = 7  1  0.9     0.65   = 7
        0.0.1.1  l      1  0.1     0.1
        0.1      f      1  0.4     0.4
        1        b      1  0.3     0.3
        2        c      1  0.6     0.6
        2.0      g = 7  1  0.9     0.6    = 7
        2.1      h      1  0.5     0.5
        3        d      1  0.2     0.2
    """)
    assert votes(played) == {"7": (1.25, 2), "8": (0.7, 1)}
    assert [candidate.node for candidate in played.strategy.ranking()] == [(0, 0, 1, 0), (2, 0), (0, 0, 0)]
    assert played.finished == "completed"


def test_the_best_finished_beam_is_selected() -> None:
    """0.8 against 0.9: what is whole is ranked by its value, where `select` is best."""
    world = scripted("""
        0  a = 1  0.8
        1  b = 2  0.9
        2  c      0.1
        3  d      0.2
    """)
    _, played = searched(BeamSearch(beams=2, expansions=2), world, ScoreSpec(select="best"))
    assert [candidate.score for candidate in played.strategy.ranking()] == [0.9, 0.8]


def test_what_was_never_kept_has_no_vote() -> None:
    """The solution 9 is whole, but was not among the best of its level."""
    world = scripted("""
        0  a = 1  0.8
        1  b = 9  0.1
    """)
    _, played = searched(BeamSearch(beams=1, expansions=2), world)
    assert votes(played) == {"1": (0.8, 1)}


def test_duplicates_are_merged() -> None:
    """Of three places b holds one and a, written three times, two: four children. Two beams wrote each solution."""
    world = scripted("""
        0    a      0.8
        1    b      0.9
        2    a      0.8
        3    a      0.8
        4    c      0.1
        5    c      0.1
        1.0  x = 1  0.9
        1.1  x = 1  0.9
        0.0  y = 2  0.8
        0.1  y = 2  0.8
        0.2  z = 3  0.5
        0.3  w      0.2
    """)
    tree, played = searched(BeamSearch(beams=3, expansions=2), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      3  0.8     0.8
        0.0   y = 2  2  0.8     0.8    = 2
        0.1   y = 2  1  0.8     0.8    as 0.0
        0.2   z = 3  1  0.5     0.5    = 3
        0.3   w      1  0.2     0.2
        1     b      1  0.9     0.9
        1.0   x = 1  2  0.9     0.9    = 1
        1.1   x = 1  1  0.9     0.9    as 1.0
        2     a      1  0.8     0.8    as 0
        3     a      1  0.8     0.8    as 0
        4     c      2  0.1     0.1
        5     c      1  0.1     0.1    as 4
    """)
    assert votes(played) == {"1": (1.8, 2), "2": (1.6, 2)}


def test_a_level_ends_before_scores_that_cannot_matter() -> None:
    """0.8 and 0.7 are certain to stay: below 2, whose value is 0.3, nothing comes to more."""
    world = scripted("""
        0    a      0.9
        1    b      0.1
        2    c      0.3
        3    d      0.2
        0.0  e = 1  0.8
        0.1  f = 2  0.7
        2.0  g      0.9
        2.1  h      0.9
    """)
    tree, played = searched(BeamSearch(beams=2, expansions=2), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      1  0.9     0.9
        0.0   e = 1  1  0.8     0.8    = 1
        0.1   f = 2  1  0.7     0.7    = 2
        1     b      1  0.1     0.1
        2     c      1  0.3     0.3
        2.0   g      1  -       -      lost
        2.1   h      1  -       -      lost
        3     d      1  0.2     0.2
    """)
    assert played.cancelled == [(2, 0), (2, 1)]


def test_a_level_waits_for_what_may_be_a_duplicate() -> None:
    """The sibling cannot displace 0.0, whose value it equals at most, but it may be its second vote."""
    search = BeamSearch(beams=1, expansions=2).build(ScoreSpec())
    search.begin()
    for place, score in ((0, 0.5), (1, 0.4)):
        search.on(Step((place,), 0, "a"))
        search.on(Paused((place,)))
        actions = search.on(Scored((place,), 0, (score,)))
    assert actions == [Sample((0, 0), None, 1), Sample((0, 1), None, 1)]
    for place in (0, 1):
        search.on(Step((0, place), 0, "= 1"))
        search.on(Ended((0, place), "stop", "a= 1", Answer("1", "1")))
    assert search.on(Scored((0, 0), 0, (0.9,))) == []
    assert search.on(Scored((0, 1), 0, (0.9,))) == [Finish("completed")]
    assert [(vote.weight, vote.candidates) for vote in search.votes()] == [(1.0, 2)]


def test_a_step_is_judged_by_where_it_leads() -> None:
    """0 leads to 0.2 and 1 to 0.6: 1 is kept. 1.2 leads to a solution with 0.8, which votes: 1.2 is kept."""
    world = scripted("""
        0      a      0.9
        0.0    p      0.2
        1      b      0.5
        1.0    q      0.6
        1.1    r = 4  0.7
        1.2    s      0.4
        1.2.0  t = 5  0.8
        1.2.1  u = 4  0.6
        1.2.2  v = 5  0.5
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=1), world, ScoreSpec(steps="last"))
    assert tree == cleandoc("""
        path   steps  x  scores  value  end
        0      a      1  0.9     0.9
        0.0    p      1  0.2     0.2
        1      b      1  0.5     0.5
        1.0    q      1  0.6     0.6
        1.1    r = 4  1  0.7     0.7    = 4
        1.2    s      1  0.4     0.4
        1.2.0  t = 5  1  0.8     0.8    = 5
        1.2.1  u = 4  1  0.6     0.6    = 4
        1.2.2  v = 5  1  0.5     0.5    = 5
    """)
    assert votes(played) == {"5": (0.8, 1), "4": (0.6, 1)}
    greedy = [action.node for action in played.actions if isinstance(action, Sample) and action.temperature == 0.0]
    assert greedy == [(0, 0), (1, 0), (1, 2, 0)]


def test_duplicates_share_a_lookahead() -> None:
    """The second of two that wrote the same is not rolled out again, and holds its place all the same."""
    world = scripted("""
        0    a      0.9
        0.0  p = 1  0.7
        1    a      0.9
        0.1  q = 2  0.8
        0.2  q = 2  0.8
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=3), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      2  0.9     0.9
        0.0   p = 1  1  0.7     0.7    = 1
        0.1   q = 2  2  0.8     0.8    = 2
        0.2   q = 2  1  0.8     0.8    as 0.1
        1     a      1  0.9     0.9    as 0
    """)
    assert votes(played) == {"2": (1.6, 2), "1": (0.7, 1)}


def test_a_lost_lookahead_leaves_its_step_without_a_value() -> None:
    """0 was scored higher, but its lookahead was refused: the search goes on below 1."""
    search = BeamSearch(beams=1, expansions=2, lookahead=1).build(ScoreSpec())
    search.begin()
    for place, score in ((0, 0.9), (1, 0.4)):
        search.on(Step((place,), 0, f"{place}"))
        search.on(Paused((place,)))
        assert search.on(Scored((place,), 0, (score,))) == [Sample((place, 0), 0.0, 1)]
    search.on(Refused((0, 0), "sample"))
    search.on(Step((1, 0), 0, "more"))
    search.on(Paused((1, 0)))
    assert search.on(Scored((1, 0), 0, (0.3,))) == [Sample((1, 1), None, 1), Sample((1, 2), None, 1)]


def test_a_level_ends_before_lookaheads_that_cannot_matter() -> None:
    """0 comes to 0.8, and 1 to 0.4 at most: the stream below 1 is cancelled."""
    world = scripted("""
        0      a      0.9
        0.0    p      0.8
        1      b      0.4
        1.0    q      0.9
        0.1    c = 1  0.7
        0.2    d = 2  0.6
    """)
    tree, played = searched(BeamSearch(beams=1, expansions=2, lookahead=1), world)
    assert tree == cleandoc("""
        path  steps  x  scores  value  end
        0     a      1  0.9     0.9
        0.0   p      1  0.8     0.8
        0.1   c = 1  1  0.7     0.7    = 1
        0.2   d = 2  1  0.6     0.6    = 2
        1     b      1  0.4     0.4
        1.0   q      1  -       -      lost
    """)
    assert played.cancelled == [(1, 0)]


def test_a_solution_that_ends_without_another_step_keeps_its_value() -> None:
    """0.0 wrote nothing more: it competes with the value of 0, which 0.1 does not reach."""
    search = BeamSearch(beams=1, expansions=2).build(ScoreSpec())
    search.begin()
    for place in (0, 1):
        search.on(Step((place,), 0, f"{place} = {place}"))
        search.on(Paused((place,)))
        search.on(Scored((place,), 0, (0.9 - place / 2,)))
    search.on(Step((0, 1), 0, "more"))
    search.on(Paused((0, 1)))
    search.on(Ended((0, 0), "stop", "0 = 0", Answer("0", "0")))
    assert search.on(Scored((0, 1), 0, (0.8,))) == [Finish("completed")]
    assert [(candidate.node, candidate.score) for candidate in search.ranking()] == [((0, 0), 0.9)]


def test_too_many_at_once_are_refused() -> None:
    """256 times 8 are more than a level may sample."""
    with pytest.raises(ValidationError, match="beams times expansions is 2048, and can be 1024 at most"):
        BeamSearch(beams=256, expansions=8)


def test_only_step_scores_can_guide_it() -> None:
    """The policy's certainty judges whole candidates."""
    with pytest.raises(ValueError, match="self_certainty@5 scores whole candidates"):
        BeamSearch().build(ScoreSpec(source="self_certainty@5"))
