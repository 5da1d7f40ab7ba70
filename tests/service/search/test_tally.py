"""What is counted of a search, over scripted engines and over records made by hand."""

from typing import Any

import pytest
from scripted_search import RIGHT, SCORES, WRONG

from service.errors import EngineUnavailable
from service.search.driver import Engines
from service.search.ports import Bill
from service.search.request import SearchRequest, SearchResult
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.search import search
from service.search.slots import Slots
from service.search.tally import Tally
from service.search.trace import Grown, Record, Stopped, Told, Wished
from service.settings import PolicySettings
from strategies.protocol import Cancel, Cancelled, Ended, Paused, Refused, Sample, Scored, Step

BEST = {"name": "best_of_n", "samples": 3, "early_stop": "off"}


async def counted(
    policy: ScriptedPolicy, strategy: dict[str, Any], scorer: ScriptedScorer | None = None, **more: Any
) -> tuple[Tally, SearchResult]:
    """One search with its tally."""
    tally = Tally()
    asked = {"model": "scripted", "prompt": "what is one plus one", "strategy": strategy, **more}
    result = await search(
        SearchRequest.model_validate(asked),
        deadline_s=5,
        settings=PolicySettings(model="scripted"),
        engines=Engines(policy, Slots(64), BoxedReader(), scorer or ScriptedScorer(SCORES), Slots(64)),
        hear=tally.saw,
    )
    return tally, result


def tally_of(*records: Record) -> Tally:
    """What those records come to."""
    tally = Tally()
    for record in records:
        tally.saw(record)
    return tally


def grown(node: int, tokens: int) -> Grown:
    """A stream of so many tokens."""
    return Grown(0.0, (node,), "", (), None, Bill(generated=tokens, exact=True))


def ended(node: int) -> Told:
    """A candidate that came to its own end."""
    return Told(0.0, Ended((node,), "stop", "", None))


async def test_flat_search_is_as_wide_as_its_candidates() -> None:
    """Three candidates of two steps: three nodes, all at once, two steps deep, none of it saved."""
    tally, result = await counted(ScriptedPolicy([WRONG, RIGHT, WRONG]), BEST)
    assert (tally.expansions, tally.width, tally.depth) == (3, 3, 2)
    assert (tally.reason, tally.saved) == (result.stopped_by, 0)


async def test_every_score_has_waited() -> None:
    """There is one wait for each scored step, and none is negative."""
    tally, result = await counted(ScriptedPolicy([WRONG, RIGHT, WRONG]), BEST)
    assert len(tally.scoring_waits) == sum(len(candidate.scores) for candidate in result.candidates)
    assert all(0 <= seconds < 5 for seconds in tally.scoring_waits)


def test_tree_is_as_deep_as_its_longest_path() -> None:
    """The steps of the nodes above count."""
    wished = [Wished(0.0, Sample(node)) for node in ((0,), (1,), (0, 0), (0, 1))]
    steps = [Step((0,), 0, "a"), Step((1,), 0, "b"), Step((1,), 1, "c"), Step((0, 1), 0, "d"), Step((0, 1), 1, "e")]
    assert tally_of(*wished, *(Told(1.0, step) for step in steps)).depth == 3


async def test_search_that_breaks_off_has_no_reason() -> None:
    """What was asked for until then is counted; nobody has said why it stopped."""

    class Broken(ScriptedPolicy):
        def stream(self, *_: Any, **__: Any) -> Any:
            raise EngineUnavailable("Gone.")

    tally = Tally()
    request = SearchRequest.model_validate({"model": "scripted", "prompt": "what", "strategy": BEST})
    engines = Engines(Broken([RIGHT]), Slots(64), BoxedReader(), ScriptedScorer(SCORES), Slots(64))
    with pytest.raises(EngineUnavailable):
        settings = PolicySettings(model="scripted")
        await search(request, deadline_s=5, settings=settings, engines=engines, hear=tally.saw)
    assert (tally.reason, tally.expansions) == (None, 3)


def test_wait_counts_from_the_end_of_the_step() -> None:
    """Of steps that are scored together each has its own wait; a score is counted once."""
    told = [Told(1.0, Step((0,), 0, "a")), Told(3.0, Step((0,), 1, "b")), Told(4.0, Scored((0,), 0, (0.5, 0.5)))]
    assert tally_of(*told, Told(9.0, Scored((0,), 0, (0.5,)))).scoring_waits == [3.0, 1.0]


def test_only_what_is_open_is_wide() -> None:
    """Streams that ended, paused, were cancelled or never started make room."""
    over = [ended(0), Told(0.0, Paused((1,))), Told(0.0, Cancelled((2,))), Told(0.0, Refused((3,), "sample"))]
    records = [record for node, end in enumerate(over) for record in (Wished(0.0, Sample((node,))), end)]
    tally = tally_of(*records)
    assert (tally.expansions, tally.width) == (4, 1)


def test_saving_is_what_is_missing_to_the_mean() -> None:
    """Two whole streams of 10 and 30 tokens; of those stopped, one had written 5 and one nothing."""
    wished = [Wished(0.0, Sample((node,))) for node in range(4)]
    stopped = [Wished(1.0, Cancel((2,), forgo=True)), Wished(1.0, Cancel((3,), forgo=True))]
    bills = [grown(0, 10), grown(1, 30), grown(2, 5)]
    tally = tally_of(*wished, ended(0), ended(1), *stopped, *bills, Stopped(2.0, "decided"))
    assert tally.saved == 15 + 20


def test_what_had_ended_is_not_saved() -> None:
    """A cancelled score of a candidate that is whole, and one that ends before it is stopped, save no writing."""
    wished = [Wished(0.0, Sample((node,))) for node in range(3)]
    stopped = [Wished(1.0, Cancel((1,))), Wished(1.0, Cancel((2,)))]
    bills = [grown(0, 10), grown(1, 2), grown(2, 2)]
    assert tally_of(*wished, ended(0), ended(1), *stopped, ended(2), *bills).saved == 0


def test_nothing_whole_says_nothing_of_savings() -> None:
    """Without a stream that came to its end there is no mean to go by."""
    assert tally_of(Wished(0.0, Sample((0,))), Wished(1.0, Cancel((0,))), grown(0, 5)).saved == 0
