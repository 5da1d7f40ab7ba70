from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.doors.fair_queue import FairQueue

BOUND, ROOM = 100, 300


class Crowd(RuleBasedStateMachine):
    """Callers that come and go in any order, against a plain account of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(BOUND, ROOM)
        self.price: dict[int, int] = {}
        self.running: set[int] = set()
        self.waiting: list[int] = []
        self.next = 0

    @rule(caller=st.sampled_from([None, "a", "b", "c"]), price=st.integers(1, 130))
    def arrive(self, caller: str | None, price: int) -> None:
        """One more request."""
        ticket, self.next = self.next, self.next + 1
        match self.queue.arrive(ticket, caller, price):
            case "admitted":
                self.running.add(ticket)
            case "waiting":
                self.waiting.append(ticket)
            case "refused":
                return
        self.price[ticket] = price

    @precondition(lambda self: self.price)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A search has ended, or one that waits has lost its client."""
        ticket = data.draw(st.sampled_from(sorted(self.price)))
        del self.price[ticket]
        self.running.discard(ticket)
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        for admitted in self.queue.leave(ticket):
            self.waiting.remove(admitted)
            self.running.add(admitted)

    @invariant()
    def no_token_is_lost(self) -> None:
        """What it says is in flight and waits is what is in flight and waits."""
        assert self.queue.in_flight == sum(self.price[ticket] for ticket in self.running)
        assert self.queue.waiting == sum(self.price[ticket] for ticket in self.waiting)

    @invariant()
    def bounds_hold(self) -> None:
        """Never more than the bounds, unless it is one alone."""
        assert self.queue.in_flight <= BOUND or len(self.running) == 1
        assert self.queue.waiting <= ROOM or len(self.waiting) == 1

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """While nothing runs, nobody waits."""
        assert self.running or not self.waiting


TestCrowd = Crowd.TestCase


@given(st.integers(1, 8), st.integers(1, 8))
def test_backlogged_callers_get_equal_shares(first: int, second: int) -> None:
    """Two callers that keep the queue full are given as many tokens each, however their requests are cut."""
    queue = FairQueue(24, 10_000)
    prices = {"a": first, "b": second}
    owners = {ticket: "ab"[ticket % 2] for ticket in range(400)}
    order = [t for t, owner in owners.items() if queue.arrive(t, owner, prices[owner]) == "admitted"]
    for turn in range(100):
        order += queue.leave(order[turn])
    tokens = Counter[str]()
    for ticket in order:
        tokens[owners[ticket]] += prices[owners[ticket]]
    assert abs(tokens["a"] - tokens["b"]) <= 24


def test_flood_does_not_hold_up_a_single_sample() -> None:
    """However much one caller has asked for, another's first request is admitted at once."""
    queue = FairQueue(1000, 100_000)
    verdicts = [queue.arrive(ticket, "flood", 100) for ticket in range(500)]
    assert verdicts.count("admitted") == 7
    assert queue.arrive(1000, "single", 10) == "admitted"


def test_flood_does_not_fill_the_queue() -> None:
    """A caller that is refused because it has filled its share of the queue leaves room for others."""
    queue = FairQueue(100, 1000)
    assert [queue.arrive(ticket, "flood", 50) for ticket in range(100)].count("refused") > 80
    assert queue.arrive(1000, "other", 50) == "waiting" or queue.in_flight == 100


def test_large_request_is_not_passed_for_ever() -> None:
    """Whoever's turn it is keeps it until there is room."""
    queue = FairQueue(100, 1000)
    for ticket in range(7):
        queue.arrive(ticket, "small", 10)
    assert queue.arrive(100, "large", 90) == "waiting"
    assert queue.arrive(101, "small", 10) == "waiting"
    admitted = [ticket for gone in range(7) for ticket in queue.leave(gone)]
    assert admitted[0] == 100


def test_without_names_first_come_is_first_served() -> None:
    """Where no keys are asked for, nobody's requests are held back for others that may come."""
    queue = FairQueue(100, 100)
    assert [queue.arrive(ticket, None, 25) for ticket in range(9)] == ["admitted"] * 4 + ["waiting"] * 4 + ["refused"]
    assert queue.leave(2) == [4]
    assert queue.leave(5) == []
    assert queue.leave(0) == [6]


def test_what_is_larger_than_the_bound_runs_alone() -> None:
    """A price above the bound is no reason never to be served."""
    queue = FairQueue(100, 1000)
    queue.arrive(0, "a", 10)
    assert queue.arrive(1, "b", 500) == "waiting"
    assert queue.leave(0) == [1]
    assert queue.arrive(2, "a", 10) == "waiting"


def test_no_room_means_no_waiting() -> None:
    """A queue of no tokens refuses whatever cannot begin at once."""
    queue = FairQueue(100, 0)
    assert queue.arrive(0, None, 100) == "admitted"
    assert queue.arrive(1, None, 1) == "refused"


def test_idle_time_is_not_saved_up() -> None:
    """A caller that comes late does not get all turns until it has caught up."""
    queue = FairQueue(40, 10_000)
    running = [t for t in range(40) if queue.arrive(t, "early", 10) == "admitted"]
    for _ in range(30):
        running += queue.leave(running.pop(0))
    for ticket in range(100, 140):
        queue.arrive(ticket, "early", 10)
    late = [t for t in range(200, 240) if queue.arrive(t, "late", 10) == "admitted"]
    running += late
    admitted: list[int] = []
    for _ in range(20):
        new = queue.leave(running.pop(0))
        running += new
        admitted += new
    assert 8 <= sum(ticket >= 200 for ticket in admitted) <= 12
