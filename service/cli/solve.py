"""`mull solve`: ask one question and see how the answer was found."""

import asyncio
import json
from typing import Annotated

import typer

from service.cli import options
from service.cli.answer import show
from service.cli.client import Client, Reply, Search
from service.cli.terminal import give_up, notes, output
from service.errors import MullError


def command(
    question: Annotated[str, typer.Argument(help="The question, in plain words or LaTeX.")],
    strategy: options.Strategy = "best_of_n",
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Candidates (default: 16).")] = None,
    model: options.Model = None,
    select: options.Select = None,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    max_tokens: options.MaxTokens = None,
    deadline: options.Deadline = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Ask the running gateway one question; print the answer, its votes, and each candidate's step scores."""

    async def ask() -> Reply:
        async with Client(options.gateway_url(url)) as client:
            search = Search(
                model=await client.model(model),
                strategy=strategy,
                samples=samples,
                select=select,
                steps=steps,
                seed=seed,
                max_tokens=max_tokens,
                deadline_s=deadline,
            )
            return await client.ask(question, search, include=("candidates",))

    try:
        with notes().status("searching …"):
            reply = asyncio.run(ask())
    except MullError as error:
        give_up(error)
    if as_json:
        typer.echo(json.dumps(reply.body, ensure_ascii=False))
    else:
        show(output(), reply)
