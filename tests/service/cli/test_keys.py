import asyncio
import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.cli.client import Client
from service.doors.keys import KeyFile, Quota, find
from service.doors.ledger import Ledger
from service.doors.price import Tokens


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own."""
    monkeypatch.setenv("MULL_STATE_DIR", str(tmp_path))
    return tmp_path


def mull(*arguments: str) -> Result:
    """Run `mull keys`."""
    return CliRunner().invoke(app, ["keys", *arguments])


def spend(state_dir: Path) -> None:
    """Let two keys have used something today."""

    async def spending() -> None:
        ledger = Ledger(state_dir / "ledger.sqlite")
        for name in ("alice", "bob"):
            ledger.let_in(name)
            ledger.spent(name, Tokens(1, 2000, 3))
        ledger.refused("bob")
        await ledger.aclose()

    asyncio.run(spending())


def test_key_is_printed_once_and_alone(state_dir: Path) -> None:
    """Standard output is the key, for a script to take; what it may use is kept with its hash."""
    added = mull("add", "alice", "--requests-per-minute", "60", "--tokens-per-day", "1000000", "--searches", "4")
    assert added.exit_code == 0
    key = find(KeyFile(state_dir / "keys.json").load(), added.stdout.strip())
    assert key is not None
    assert key.quota == Quota(requests_per_minute=60, tokens_per_day=1_000_000, searches=4)
    assert added.stdout.strip() not in added.stderr + mull("list").output


def test_keys_are_listed_with_what_they_may_use() -> None:
    """A key without limits may use everything."""
    mull("add", "alice", "--largest-budget", "5000")
    mull("add", "bob")
    lines = mull("list").output.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "alice", "bob"]
    assert "5,000 tokens a request" in lines[1]
    assert "everything" in lines[2]


def test_removed_key_is_gone() -> None:
    """Removing it twice is an error that names those there are."""
    mull("add", "alice")
    mull("add", "bob")
    assert mull("remove", "alice").exit_code == 0
    again = mull("remove", "alice")
    assert again.exit_code == 1
    assert "Known: bob" in again.stderr


def test_usage_is_a_table(state_dir: Path) -> None:
    """One line for each day and key."""
    spend(state_dir)
    lines = mull("usage").output.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[1:] == ["alice", "1", "0", "1", "2,000", "3", "0"]


def test_usage_can_be_exported(state_dir: Path) -> None:
    """As JSON lines and as comma-separated values, of one key or all."""
    spend(state_dir)
    (line,) = mull("usage", "bob", "--json").stdout.splitlines()
    entry = json.loads(line)
    assert (entry["key"], entry["requests"], entry["refused"], entry["policy_tokens"]) == ("bob", 1, 1, 2000)
    head, *rows = mull("usage", "--csv").stdout.splitlines()
    assert head == "day,key,requests,refused,prompt_tokens,policy_tokens,reward_tokens,unbilled_tokens"
    assert [row.split(",")[1:] for row in rows] == [
        ["alice", "1", "0", "1", "2000", "3", "0"],
        ["bob", "1", "1", "1", "2000", "3", "0"],
    ]
    assert mull("usage", "--since", "2999-01-01", "--json").stdout == ""
    assert mull("usage", "--json", "--csv").exit_code == 2


def test_without_use_there_is_nothing_to_show() -> None:
    """And no ledger is made by looking for one."""
    assert "Nothing so far" in mull("usage").output


@pytest.mark.parametrize(("variable", "sent"), [("mull-x", "Bearer mull-x"), ("", None)])
async def test_commands_show_the_key_of_their_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, sent: str | None
) -> None:
    """MULL_API_KEY, if there is one."""
    monkeypatch.setenv("MULL_API_KEY", variable)
    shown: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"data": []})

    async with Client("http://mull", transport=httpx.MockTransport(answer)) as client:
        await client.models()
    assert shown == [sent]
