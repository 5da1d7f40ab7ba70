import asyncio
import sqlite3
from datetime import date
from pathlib import Path

import pytest

from service.doors import ledger as module
from service.doors.ledger import Ledger, entries
from service.doors.price import Tokens


async def test_what_was_spent_is_written_down(tmp_path: Path) -> None:
    """By key, in sums; a ledger that is closed has written everything."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for _ in range(3):
        ledger.let_in("alice")
    ledger.spent("alice", Tokens(1, 20, 300))
    ledger.spent("alice", Tokens(1, 20, 300))
    ledger.unbilled("alice", 77)
    ledger.refused("bob")
    await ledger.aclose()
    alice, bob = entries(path)
    assert (alice.key, alice.requests, alice.refused) == ("alice", 3, 0)
    assert (alice.prompt_tokens, alice.policy_tokens, alice.reward_tokens, alice.unbilled_tokens) == (2, 40, 600, 77)
    assert (bob.key, bob.requests, bob.refused) == ("bob", 0, 1)


async def test_it_writes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to close it, and what comes later is added."""
    monkeypatch.setattr(module, "_WRITE_EVERY_S", 0.001)
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for _ in range(2):
        ledger.let_in("alice")
        writing = ledger._writing
        assert writing is not None
        await writing
    assert [entry.requests for entry in entries(path)] == [2]


async def test_gateways_of_one_machine_share_it(tmp_path: Path) -> None:
    """Two that write to one file lose nothing of each other."""
    path = tmp_path / "ledger.sqlite"
    both = [Ledger(path) for _ in range(4)]
    for _ in range(5):
        for ledger in both:
            ledger.spent("alice", Tokens(policy=1))
        await asyncio.gather(*(ledger.aclose() for ledger in both))
    assert [entry.policy_tokens for entry in entries(path)] == [20]


async def test_what_cannot_be_written_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full is complained of, and written to again when it can be."""
    path = tmp_path / "ledger.sqlite"
    path.write_text("this is no database, and long enough to be looked at as one")
    ledger = Ledger(path)
    ledger.let_in("alice")
    await ledger.aclose()
    assert "cannot be written" in caplog.text
    path.unlink()
    await ledger.aclose()
    assert [entry.requests for entry in entries(path)] == [1]


async def test_entries_are_chosen_by_key_and_day(tmp_path: Path) -> None:
    """One key's, or those since a day; of none there are none."""
    path = tmp_path / "ledger.sqlite"
    assert entries(path) == []
    assert not path.exists()
    ledger = Ledger(path)
    ledger.let_in("alice")
    ledger.let_in("bob")
    await ledger.aclose()
    assert [entry.key for entry in entries(path, key="bob")] == ["bob"]
    assert len(entries(path, since=date(2026, 1, 1))) == 2
    assert entries(path, since=date(9999, 1, 1)) == []
    path.write_text("this is no database, and long enough to be looked at as one")
    with pytest.raises(sqlite3.Error):
        entries(path)
