"""What each key has spent, day by day: a table in one file, which outlives gateways and Redis."""

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from service.doors.price import Tokens
from service.settings import Settings

_WRITE_EVERY_S = 1.0
_COLUMNS = ("requests", "refused", "prompt_tokens", "policy_tokens", "reward_tokens", "unbilled_tokens")
_log = logging.getLogger("mull.doors")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one key has spent on one day (UTC).

    `requests` were let in, `refused` ran into a quota. `unbilled_tokens` is the price of searches whose bill nobody has
    seen, because their client left or their deadline passed: they count against the quota in full.
    """

    day: str
    key: str
    requests: int
    refused: int
    prompt_tokens: int
    policy_tokens: int
    reward_tokens: int
    unbilled_tokens: int


class Ledger:
    """Collects what is spent, and writes it down once a second: what a crash can lose is that second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten: Counter[tuple[str, str, str]] = Counter()
        self._writing: asyncio.Task[None] | None = None

    def let_in(self, key: str) -> None:
        """Note a request that was within its quota."""
        self._note(key, requests=1)

    def refused(self, key: str) -> None:
        """Note a request that ran into a quota."""
        self._note(key, refused=1)

    def spent(self, key: str, tokens: Tokens) -> None:
        """Note what a request has cost."""
        self._note(key, prompt_tokens=tokens.prompt, policy_tokens=tokens.policy, reward_tokens=tokens.reward)

    def unbilled(self, key: str, tokens: int) -> None:
        """Note the price of a request whose bill is not known."""
        self._note(key, unbilled_tokens=tokens)

    async def aclose(self) -> None:
        """Write what has not been written."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()

    def _note(self, key: str, **amounts: int) -> None:
        day = datetime.now(UTC).date().isoformat()
        for column, amount in amounts.items():
            if amount:
                self._unwritten[day, key, column] += amount
        if self._writing is None and self._unwritten:
            self._writing = asyncio.create_task(self._keep_writing())

    async def _keep_writing(self) -> None:
        try:
            while self._unwritten:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self._write()
        finally:
            self._writing = None

    async def _write(self) -> None:
        amounts, self._unwritten = self._unwritten, Counter()
        if not amounts:
            return
        # Cancelled or not, a transaction that has begun comes to its end, and is not written a second time.
        writing = asyncio.ensure_future(asyncio.to_thread(_add, self._path, amounts))
        try:
            await asyncio.shield(writing)
        except (sqlite3.Error, OSError) as error:
            self._unwritten.update(amounts)
            _log.error("the ledger cannot be written (%s: %s): trying again", type(error).__name__, error)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            if writing.exception() is not None:
                self._unwritten.update(amounts)
            raise


def entries(path: Path, *, key: str | None = None, since: date | None = None) -> list[Entry]:
    """Return what has been written down, by day and key; raises `sqlite3.Error` for a file that is no ledger."""
    if not path.exists():
        return []
    query = f"SELECT day, key, {', '.join(_COLUMNS)} FROM spent WHERE day >= ? AND (? IS NULL OR key = ?) ORDER BY 1, 2"
    with _opened(path) as table:
        return [Entry(*row) for row in table.execute(query, (since.isoformat() if since else "", key, key))]


def ledger_path(settings: Settings) -> Path:
    """Return the file that these settings keep the ledger in."""
    return settings.state_dir / "ledger.sqlite"


def _add(path: Path, amounts: Counter[tuple[str, str, str]]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(path) as table:
        for (day, key, column), amount in amounts.items():
            table.execute("INSERT OR IGNORE INTO spent (day, key) VALUES (?, ?)", (day, key))
            table.execute(f"UPDATE spent SET {column} = {column} + ? WHERE day = ? AND key = ?", (amount, day, key))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction; several gateways of one machine wait for each other."""
    with contextlib.closing(sqlite3.connect(path, timeout=10)) as table, table:
        columns = ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in _COLUMNS)
        table.execute(
            f"CREATE TABLE IF NOT EXISTS spent (day TEXT, key TEXT, {columns}, PRIMARY KEY (day, key)) WITHOUT ROWID"
        )
        yield table
