"""`mull keys`: who may call the gateway, how much each may use, and what each has used."""

import csv
import json
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, fields
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from service.cli.terminal import output
from service.doors.keys import Key, Quota, key_file
from service.doors.ledger import Entry, entries, ledger_path
from service.errors import StackError
from service.settings_file import load_settings

app = typer.Typer(no_args_is_help=True, help="API keys: add them, list them, remove them, see what each has used.")

Name = Annotated[str, typer.Argument(help="What logs and the ledger call it.")]


@app.command()
def add(
    name: Name,
    requests_per_minute: Annotated[int | None, typer.Option(min=0, help="Most requests in a minute.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=0, help="Most tokens on a day (UTC).")] = None,
    searches: Annotated[int | None, typer.Option(min=0, help="Most searches in flight.")] = None,
    largest_budget: Annotated[
        int | None, typer.Option(min=0, help="Most tokens that one request may be priced at.")
    ] = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept. What is not limited is free.

    As soon as there is a key the gateway asks for one; a running gateway notices by itself.
    """
    quota = Quota(
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
        searches=searches,
        largest_budget=largest_budget,
    )
    file = key_file(load_settings())
    typer.echo(file.add(name, quota))
    told = f"Keep it: it is not shown again. Its hash is in {file.path}. `mull` itself takes it from MULL_API_KEY."
    typer.echo(told, err=True)


@app.command(name="list")
def show() -> None:
    """List the keys and what each may use."""
    keys = key_file(load_settings()).load()
    console = output()
    row = "{:<24}{:<18}{}".format
    console.print(Text(row("name", "made", "may use"), style="bold"))
    for key in keys.values():
        console.print(Text(row(key.name, f"{key.created:%Y-%m-%d %H:%M}", _allowance(key))), soft_wrap=True)


@app.command()
def remove(name: Name) -> None:
    """Remove a key: it opens nothing from now on. What it has used stays in the ledger."""
    key_file(load_settings()).remove(name)


@app.command()
def usage(
    name: Annotated[str | None, typer.Argument(help="Of this key only.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on (UTC).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each day and key.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Show what each key has used, day by day.

    Tokens are counted as quotas count them: the question, all that the policy wrote, and what the reward model read
    anew or wrote. Unbilled is the price of searches whose client left, or whose time was over, before their bill came.
    Gateways on several machines keep a ledger each.
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one", param_hint="--json, --csv")
    path = ledger_path(load_settings())
    try:
        found = entries(path, key=name, since=since.date() if since else None)
    except sqlite3.Error as error:
        raise StackError(f"The ledger {path} cannot be read: {error}.", hint="Move it away to begin another.") from None
    if as_json:
        for entry in found:
            typer.echo(json.dumps(asdict(entry)))
    elif as_csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(field.name for field in fields(Entry))
        lines.writerows(astuple(entry) for entry in found)
    else:
        _table(found)


def _table(found: Sequence[Entry]) -> None:
    console = output()
    row = "{:<12}{:<24}{:>10}{:>9}{:>12}{:>12}{:>12}{:>12}".format
    titles = ("day", "key", "requests", "refused", "prompt", "policy", "reward", "unbilled")
    console.print(Text(row(*titles), style="bold"), soft_wrap=True)
    for entry in found:
        day, key, *amounts = astuple(entry)
        console.print(Text(row(day, key, *(f"{amount:,}" for amount in amounts))), soft_wrap=True)
    if not found:
        console.print(f"Nothing so far ({datetime.now(UTC):%Y-%m-%d %H:%M} UTC).", style="dim")


def _allowance(key: Key) -> str:
    words = (
        (key.quota.requests_per_minute, "requests a minute"),
        (key.quota.tokens_per_day, "tokens a day"),
        (key.quota.searches, "searches at once"),
        (key.quota.largest_budget, "tokens a request"),
    )
    return ", ".join(f"{limit:,} {what}" for limit, what in words if limit is not None) or "everything"
