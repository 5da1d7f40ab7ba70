"""Which of several servers gets a request."""

from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engines import affinity
from service.engines.affinity import NO_LOAD, Affinity, capacity, order
from service.search.ports import Place


@dataclass(eq=False)
class Server:
    """A server with so many requests in flight."""

    name: str
    load: int = 0


def servers(count: int) -> list[Server]:
    return [Server(f"http://10.0.0.{i}/") for i in range(count)]


def question(number: int) -> bytes:
    return number.to_bytes(16, "big")


@given(st.integers(2, 8), st.integers(0, 7), st.integers(0, 10_000))
def test_without_a_server_the_order_of_the_others_is_the_same(count: int, lost: int, number: int) -> None:
    """So only the questions move whose home it was; they go to their second choice."""
    every = servers(count)
    left = [server for place, server in enumerate(every) if place != lost % count]
    ranked = order(question(number), every)
    assert order(question(number), left) == [server for server in ranked if server in left]


@given(st.permutations(range(5)), st.integers(0, 10_000))
def test_the_order_in_which_servers_are_listed_does_not_matter(listed: list[int], number: int) -> None:
    """Workers with differently written configurations agree."""
    every = servers(5)
    assert order(question(number), [every[i] for i in listed]) == order(question(number), every)


def test_questions_are_spread_evenly() -> None:
    """Four servers are home to a quarter each, as far as chance allows."""
    homes = [order(question(number), servers(4))[0].name for number in range(2000)]
    assert all(400 < homes.count(server.name) < 600 for server in servers(4))


WORK = st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=3), st.integers(1, 12), st.integers(0, 8))
"""A question, a trail, how many requests have it at once, and how many others end after them."""


@given(st.integers(1, 5), st.lists(WORK, max_size=60))
def test_no_server_is_ever_given_more_than_the_bound(count: int, work: list[tuple[int, list[int], int, int]]) -> None:
    """Whatever the questions, the trails and the order in which requests end: 1.25 times the mean, or no load."""
    every, route = servers(count), Affinity()
    flying: list[Server] = []
    for number, trail, times, ended in work:
        for _ in range(times):
            chosen = route(every, Place(question(number), tuple(trail)))
            chosen.load += 1
            flying.append(chosen)
            assert chosen.load <= max(NO_LOAD, ceil(1.25 * len(flying) / count))
        for server in flying[:ended]:
            server.load -= 1
        del flying[:ended]


def test_a_question_stays_at_home_as_long_as_it_may() -> None:
    """Alone it spills only what is above the bound; with others beside it there is room for more."""
    every, route = servers(4), Affinity()
    home, *others = order(question(1), every)
    assert route(every, Place(question(1), (1,))) is home
    for server in others:
        server.load = NO_LOAD
    home.load = NO_LOAD - 1
    assert route(every, Place(question(1), (2,))) is home
    assert route.spilled == 0


def test_what_spills_goes_to_the_next_in_the_questions_order() -> None:
    """The first that has room, as its questions would find it if the home were gone."""
    every, route = servers(3), Affinity()
    home, second, third = order(question(1), every)
    home.load, second.load = NO_LOAD + 1, NO_LOAD + 1
    assert route(every, Place(question(1), ("s", 0))) is third
    assert route.spilled == 1


def test_a_subtree_stays_where_it_was_moved() -> None:
    """Also when its home has room again; its siblings are at home, and so is another search's."""
    every, route = servers(2), Affinity()
    home, other = order(question(1), every)
    home.load = NO_LOAD + 1
    assert route(every, Place(question(1), ("search", 0))) is other
    home.load = 0
    assert route(every, Place(question(1), ("search", 0, 4, 1))) is other
    assert route(every, Place(question(1), ("search", 1))) is home
    assert route(every, Place(question(1), ("another", 0))) is home


def test_of_two_moves_the_later_one_holds() -> None:
    """The longest trail that is remembered has most of the prompt."""
    every, route = servers(2), Affinity()
    home, other = order(question(1), every)
    home.load = NO_LOAD + 1
    route(every, Place(question(1), ("s", 0)))
    home.load, other.load = 0, NO_LOAD + 1
    assert route(every, Place(question(1), ("s", 0, 0))) is home
    other.load = 0
    assert route(every, Place(question(1), ("s", 0, 0, 7))) is home
    assert route(every, Place(question(1), ("s", 0, 1))) is other


def test_what_was_moved_to_a_server_that_is_gone_goes_home() -> None:
    """Nobody else has its prompt."""
    every, route = servers(3), Affinity()
    home, second, _ = order(question(1), every)
    home.load = NO_LOAD + 1
    assert route(every, Place(question(1), ("s",))) is second
    home.load = 0
    left = [server for server in every if server is not second]
    assert route(left, Place(question(1), ("s", 0))) is home


def test_only_so_many_moves_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was looked for longest ago is forgotten."""
    monkeypatch.setattr(affinity, "REMEMBERED_PLACES", 2)
    every, route = servers(2), Affinity()
    home, other = order(question(1), every)
    home.load = NO_LOAD + 1
    route(every, Place(question(1), ("a",)))
    route(every, Place(question(1), ("b",)))
    assert route(every, Place(question(1), ("a",))) is other  # looked for again
    route(every, Place(question(1), ("c",)))
    home.load = 0
    found = [route(every, Place(question(1), (name,))) for name in "abc"]
    assert found == [other, home, other]


def test_what_has_no_place_goes_where_there_is_least_to_do() -> None:
    """A chat that is tokenised has no prompt in any cache."""
    every = servers(3)
    every[0].load, every[1].load, every[2].load = 2, 1, 2
    assert Affinity()(every, None) is every[1]


def test_capacity_is_above_the_mean_of_what_there_will_be() -> None:
    """Rounded up, so that there is always room somewhere; a few requests are no load."""
    every = servers(4)
    assert capacity(every) == NO_LOAD
    for server in every:
        server.load = NO_LOAD
    assert capacity(every) == ceil(1.25 * (4 * NO_LOAD + 1) / 4)
