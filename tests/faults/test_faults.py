"""Every fault on the real stack: what clients see of it, and that nothing of it stays."""

import pytest
from fault_catalogue import FAULTS, Fault
from faulty_stack import FaultyStack
from soak import Soak
from table import Table
from traffic import OK
from trial import Trials

pytestmark = pytest.mark.stack

LEAVING = 24
SOAK_SEED = 7


async def test_without_a_fault_everything_is_answered(trials: Trials) -> None:
    """Requests of every kind, at both gateways; what the processes hold afterwards is what they may hold later."""
    seen = await trials.warm_up()
    assert [(one.kind, one.outcome, one.wrong) for one in seen if one.outcome != OK or one.wrong] == []


async def test_two_gateways_search_once_for_the_same_request(trials: Trials) -> None:
    """Asked of both at the same moment: one of them searches, and both give its answer."""
    said, samples = await trials.twins(samples=8)
    assert sorted(headers["x-mull-cache"] for headers, _ in said) == ["coalesced", "miss"]
    assert said[0][1]["choices"] == said[1][1]["choices"]
    assert samples == 8


async def test_clients_that_leave_at_random_moments_leave_nothing(trials: Trials, table: Table) -> None:
    """Of every kind, at both gateways; soon engines and gateways have nothing to do."""
    outcome = await trials.deserted(LEAVING, seed=SOAK_SEED)
    table.add(outcome)
    assert outcome.faults == ()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.short], ids=str)
async def test_a_fault(trials: Trials, table: Table, fault: Fault) -> None:
    """Answers or honest errors in time, jobs done once, and afterwards everything as before."""
    outcome = await trials.of(fault)
    table.add(outcome)
    assert outcome.faults == ()


@pytest.mark.faults
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if not fault.short], ids=str)
async def test_a_fault_that_takes_long(trials: Trials, table: Table, fault: Fault) -> None:
    """The same for what is slow to come back."""
    outcome = await trials.of(fault)
    table.add(outcome)
    assert outcome.faults == ()


@pytest.mark.faults
async def test_soak(faulty: FaultyStack, trials: Trials, table: Table, soak_minutes: float) -> None:
    """Mixed load and random faults for a long while: the same holds, and in peace every request is answered."""
    soaked = await Soak(faulty, trials, SOAK_SEED).run(soak_minutes)
    table.soaked(soaked)
    assert soaked.wrong == ()
    assert sum(one.outcome == OK for one in soaked.direct) > len(soaked.direct) / 2
