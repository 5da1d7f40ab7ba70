import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_workers import result, settings

from service.doors.doors import Doors
from service.doors.keys import Key, Quota
from service.doors.ledger import Entry, entries, ledger_path
from service.errors import EngineUnavailable, InvalidRequest, NoAnswer, QuotaExceeded
from service.redis_link import RedisLink
from service.search.request import Message, SearchRequest
from service.settings import Settings
from strategies.majority_vote import MajorityVote

REQUEST = SearchRequest(
    model="tiny",
    messages=(Message(role="user", content="x" * 40),),
    strategy=MajorityVote(samples=4),
    max_completion_tokens=25,
)
PRICE = 10 + 100
SPENT = 5 + 40
"""What the fake result of `REQUEST` has cost: the prompt, and four candidates."""


def key(**quota: int) -> Key:
    """A key that may use so much."""
    return Key(name="alice", sha256="0" * 64, created=datetime.now(UTC), quota=Quota(**quota))


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    """A gateway of its own, without Redis."""
    return settings(state_dir=tmp_path)


def opened(configured: Settings) -> Doors:
    """Doors with a way to Redis of their own."""
    return Doors(configured, RedisLink(configured.redis))


@pytest.fixture
async def doors(configured: Settings) -> AsyncIterator[Doors]:
    """Its doors."""
    made = opened(configured)
    yield made
    await made.aclose()


async def search(doors: Doors, key: Key | None, end: BaseException | None = None) -> dict[str, str]:
    """Make one search that ends well, or with `end`; return the headers."""
    headers: dict[str, str] = {}
    async with doors.admit(key, REQUEST, 5, headers) as ticket:
        async with ticket.turn(5):
            if end is not None:
                raise end
        ticket.settle(result(REQUEST).usage)
    return headers


async def left(doors: Doors, key: Key) -> int:
    """Return how many tokens the key has left; a request that spends nothing asks."""
    headers: dict[str, str] = {}
    await asyncio.sleep(0)
    async with doors.admit(key, REQUEST, 5, headers):
        pass
    await asyncio.sleep(0)
    return int(headers["x-ratelimit-remaining-tokens"]) + PRICE


async def ledger(doors: Doors, configured: Settings) -> Entry:
    """Return what the only key has used."""
    await doors.aclose()
    (entry,) = entries(ledger_path(configured))
    return entry


async def test_settled_by_the_bill(doors: Doors, configured: Settings) -> None:
    """What was spent is counted and entered, not what was set aside."""
    alice = key(tokens_per_day=1000)
    headers = await search(doors, alice)
    assert int(headers["x-ratelimit-remaining-tokens"]) == 1000 - PRICE
    assert await left(doors, alice) == 1000 - SPENT
    entry = await ledger(doors, configured)
    assert (entry.requests, entry.prompt_tokens, entry.policy_tokens, entry.reward_tokens) == (2, 5, 40, 0)


@pytest.mark.parametrize("end", [NoAnswer("too late"), asyncio.CancelledError(), RuntimeError("client gone")])
async def test_unbilled_search_costs_its_price(doors: Doors, configured: Settings, end: BaseException) -> None:
    """Who leaves before the bill comes has not searched for nothing."""
    alice = key(tokens_per_day=1000)
    with pytest.raises(type(end)):
        await search(doors, alice, end)
    assert await left(doors, alice) == 1000 - PRICE
    assert (await ledger(doors, configured)).unbilled_tokens == PRICE


async def test_our_failure_costs_nothing(doors: Doors, configured: Settings) -> None:
    """An engine that is down is not on the client's account."""
    alice = key(tokens_per_day=1000)
    with pytest.raises(EngineUnavailable):
        await search(doors, alice, EngineUnavailable("down"))
    assert await left(doors, alice) == 1000
    assert (await ledger(doors, configured)).unbilled_tokens == 0


async def test_refused_request_takes_nothing(doors: Doors, configured: Settings) -> None:
    """It says when to come back, and is entered as refused."""
    alice = key(requests_per_minute=1)
    await search(doors, alice)
    headers: dict[str, str] = {}
    with pytest.raises(QuotaExceeded, match="1 requests per minute") as caught:
        async with doors.admit(alice, REQUEST, 5, headers):
            pass
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60
    assert headers["x-ratelimit-remaining-requests"] == "0"
    entry = await ledger(doors, configured)
    assert (entry.requests, entry.refused) == (1, 1)


@pytest.mark.parametrize("quota", [{"largest_budget": PRICE - 1}, {"tokens_per_day": PRICE - 1}])
async def test_what_can_never_be_paid_is_no_matter_of_time(doors: Doors, quota: dict[str, int]) -> None:
    """A request that is too large for its key must change: waiting would not help."""
    with pytest.raises(InvalidRequest, match=f"priced at {PRICE} tokens"):
        await search(doors, key(**quota))


async def test_searches_in_flight(doors: Doors) -> None:
    """As many at once as the key may have."""
    alice = key(searches=1)
    async with doors.admit(alice, REQUEST, 5, {}):
        with pytest.raises(QuotaExceeded, match="1 are in flight"):
            await search(doors, alice)
    await asyncio.sleep(0)
    await search(doors, alice)


async def test_nobody_in_particular_is_not_counted(doors: Doors, configured: Settings) -> None:
    """Without keys there are no limits to tell and nothing to enter."""
    assert await search(doors, None) == {}
    await doors.aclose()
    assert not ledger_path(configured).exists()


async def test_outage_of_redis_closes_no_door(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, own_server: Any
) -> None:
    """While Redis is silent each gateway counts by itself, and says so once; then they count together again."""
    doors = opened(settings(state_dir=tmp_path, redis={"url": own_server.url, "timeout_ms": 500}))
    alice = key(requests_per_minute=4)
    assert (await search(doors, alice))["x-ratelimit-remaining-requests"] == "3"
    await asyncio.gather(*doors._returning)
    own_server.stop()
    for expected in ("3", "2", "1", "0"):
        assert (await search(doors, alice))["x-ratelimit-remaining-requests"] == expected
    with pytest.raises(QuotaExceeded):
        await search(doors, alice)
    assert [record.name for record in caplog.records] == ["mull.redis"]
    own_server.start()
    for _ in range(400):
        if doors._link.state == "on":
            break
        await asyncio.sleep(0.05)
    assert (await search(doors, alice))["x-ratelimit-remaining-requests"] == "3"
    await doors.aclose()
    await doors._link.aclose()


async def test_settled_where_it_was_counted(tmp_path: Path, redis_server: Any) -> None:
    """In Redis too, the tokens that were not spent come back."""
    doors = opened(settings(state_dir=tmp_path, redis={"url": redis_server.url, "timeout_ms": 10_000}))
    alice = key(tokens_per_day=1000)
    await search(doors, alice)
    await asyncio.gather(*doors._returning)
    headers = await search(doors, alice)
    assert int(headers["x-ratelimit-remaining-tokens"]) == 1000 - SPENT - PRICE
    await doors.aclose()
    await doors._link.aclose()
