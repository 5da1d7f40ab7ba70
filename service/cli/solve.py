"""`mull solve`: ask one question and see how the answer was found."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from service.cli import options
from service.cli.answer import show
from service.cli.client import Client, Search, Wishes
from service.cli.here import Here, search_here
from service.cli.outcome import Outcome
from service.cli.own import built
from service.cli.terminal import give_up, notes, output
from service.cli.trace_file import check_writable, write_trace
from service.errors import InvalidRequest, MullError

DEFAULT = "best_of_n"


def command(
    question: Annotated[str | None, typer.Argument(help="The question, in plain words or LaTeX.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            help=f"{options.NAMES} (default: {DEFAULT}), or a class of yours: my.py:Mine.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Candidates (default: 16).")] = None,
    parameters: options.Set = None,
    model: options.Model = None,
    reward: Annotated[str | None, typer.Option("--reward", help="A reward model of yours: my.py:MyPRM.")] = None,
    early_stop: options.EarlyStop = None,
    economy: options.Economy = None,
    score_by: options.ScoreBy = None,
    select: options.Select = None,
    steps: options.Steps = None,
    answer: options.Answer = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Another seed is another search (default: 0).")
    ] = None,
    max_tokens: options.MaxTokens = None,
    deadline: options.Deadline = None,
    policy_tokens: Annotated[
        int | None, typer.Option("--policy-tokens", min=1, help="Most tokens the policy may generate.")
    ] = None,
    reward_tokens: Annotated[
        int | None, typer.Option("--reward-tokens", min=1, help="Most tokens that may be scored.")
    ] = None,
    parallel: options.Parallel = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Write down what happened, for `mull replay` and --continue.")
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option("--continue", help="Go on with the search of a trace: only what is new is paid for."),
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Ask one question; print the answer, its votes, and each candidate's step scores.

    The running gateway is asked. A strategy or a reward model of your own, and --continue, make the search run in this
    process, with the engines of the running stack or those that mull.yaml gives a url.
    """
    wishes = Wishes(
        samples=samples,
        early_stop=early_stop,
        economy=economy,
        source=score_by,
        select=select,
        steps=steps,
        answer=options.answer(answer),
        seed=seed,
        max_tokens=max_tokens,
        deadline_s=deadline,
        policy_tokens=policy_tokens,
        reward_tokens=reward_tokens,
        parallel=parallel,
        settings=options.settings(parameters),
    )
    here = Here(question, strategy, reward, model, continue_from)
    try:
        if trace is not None:
            check_writable(trace)
        with notes().status("searching …"):
            found = asyncio.run(_search(here, wishes, url, trace=trace is not None))
        if trace is not None:
            write_trace(trace, found.outcome.trace or ())
    except MullError as error:
        give_up(error)
    if as_json:
        typer.echo(found.json)
    else:
        show(output(), found.outcome, cache=found.cache)


@dataclass(frozen=True, slots=True)
class _Found:
    """The outcome, what `--json` prints of it, and what the gateway's cache did (`None` without a gateway)."""

    outcome: Outcome
    json: str
    cache: str | None = None


async def _search(here: Here, wishes: Wishes, url: str | None, *, trace: bool) -> _Found:
    if here.question is None and here.continue_from is None:
        raise InvalidRequest("There is no question.", hint="Write it behind `mull solve`.")
    if here.is_needed:
        if url is not None:
            raise InvalidRequest("This search runs in this process, not at a gateway.", hint="Leave --url out.")
        result = await search_here(here, wishes, trace=trace)
        return _Found(Outcome.of(result), result.model_dump_json(exclude={"trace"}))
    strategy = here.strategy or DEFAULT
    built(None, {"name": strategy, **wishes.parameters})
    async with Client(options.gateway_url(url)) as client:
        search = Search(await client.model(here.model), strategy, **asdict(wishes))
        include = ("candidates", "trace") if trace else ("candidates",)
        reply = await client.ask(here.question or "", search, include=include)
    return _Found(reply.mull, json.dumps(reply.body, ensure_ascii=False), reply.cache)
