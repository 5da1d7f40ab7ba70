"""`mull replay`: draw a search from its trace, without any engine."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from service.cli import options
from service.cli.answer import headline, one_line, show_cost, show_solution, votes_table
from service.cli.branches import branches, is_tree, way_to
from service.cli.client import Client
from service.cli.lives import lives
from service.cli.outcome import Outcome
from service.cli.own import own_strategy
from service.cli.terminal import give_up, output
from service.cli.timeline import show_timeline
from service.cli.tree import show_tree
from service.errors import MullError
from service.library import read_trace
from service.search.replay import replay
from service.search.request import SearchRequest, SearchResult
from service.search.trace import Begun, Record, from_lines


def command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID", help="What `mull solve --trace FILE` wrote, or the trace_id of a gateway's answer."
        ),
    ],
    strategy: Annotated[
        str | None, typer.Option("--strategy", help="The class of a strategy of yours: my.py:Mine.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="Draw everything, however much there is of it.")] = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Search again as a trace says it was searched, and draw what happened: steps, scores, tokens, ends.

    A search over steps is drawn as its tree, one over whole solutions as a line per candidate. A gateway keeps traces
    of searches that were asked to `include` them.
    """
    try:
        if _is_id(trace):
            records = asyncio.run(_kept(trace, options.gateway_url(url)))
        else:
            records = read_trace(trace, own=None if strategy is None else own_strategy(strategy))
        result = replay(records)
    except MullError as error:
        give_up(error)
    if as_json:
        typer.echo(result.model_dump_json(exclude={"trace"}))
    else:
        _draw(records, result, whole=whole)


def _is_id(trace: str) -> bool:
    """Tell the name of a file from an id: a file is there, or has a suffix or a folder, which no made id has."""
    path = Path(trace)
    return not (path.exists() or path.suffix or len(path.parts) > 1)


async def _kept(trace_id: str, url: str) -> Sequence[Record]:
    async with Client(url) as client:
        return from_lines(json.dumps(record) for record in await client.trace(trace_id))


def _draw(records: Sequence[Record], result: SearchResult, *, whole: bool) -> None:
    console, outcome, best = output(), Outcome.of(result), result.choices[0]
    request = _request(records)
    console.print(Text(one_line(request.question), style="bold"))
    console.print(Text(_how(request), style="dim"))
    console.print()
    console.print(headline(outcome))
    console.print()
    if is_tree(records) and request.score.steps is not None:
        root = branches(records)
        show_tree(console, root, request.score.steps, way_to(root, best), whole=whole)
    else:
        show_timeline(console, lives(records), result.seconds, best, whole=whole)
    if len(outcome.votes) > 1:
        console.print(Text("\nVotes", style="bold"), votes_table(outcome))
    console.print(Text("\nBest candidate", style="bold"))
    show_solution(console, best)
    show_cost(console, outcome)


def _request(records: Sequence[Record]) -> SearchRequest:
    begun = records[0]
    if not isinstance(begun, Begun):
        raise ValueError("a trace begins with Begun")
    return begun.request


def _how(request: SearchRequest) -> str:
    """Return in one line what was asked for, less what is as always."""
    strategy = request.strategy.model_dump(exclude={"name"}, exclude_none=True)
    score = request.score.model_dump(exclude_defaults=True) if request.strategy.needs_scores else {}
    asked = {"seed": request.seed} | request.budget.model_dump(exclude_none=True)
    given = ", ".join(f"{name} {value}" for name, value in (strategy | score | asked).items() if value is not False)
    return f"{request.strategy.name} with {request.model}: {given}"
