"""`mull eval`: run a file of problems through the gateway and say how many are right, and at what cost."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from service.cli import options
from service.cli.client import Client, Search, Wishes
from service.cli.evaluation import Evaluation, show
from service.cli.grading import Graded, Grader, Tally, describe_errors, grade_all
from service.cli.own import built
from service.cli.problems import BadFile, Problem, read_problems
from service.cli.terminal import give_up, harmless, notes, output, sentence
from service.errors import InvalidRequest, MullError
from service.search.answers import MathAnswers
from strategies.registry import STRATEGIES
from strategies.spec import Spec


def command(
    file: Annotated[Path, typer.Argument(help='Lines of {"id", "problem", "answer"}.')],
    strategy: options.Strategy = "best_of_n",
    samples: Annotated[str | None, typer.Option("--samples", help="How many, as in 1,4,16 (default: 16).")] = None,
    parameters: options.Set = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first so many problems.")] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Questions in flight.")] = 8,
    model: options.Model = None,
    early_stop: options.EarlyStop = None,
    economy: options.Economy = None,
    score_by: options.ScoreBy = None,
    select: options.Select = None,
    steps: options.Steps = None,
    parallel: options.Parallel = None,
    seed: options.Seed = 0,
    max_tokens: options.MaxTokens = None,
    deadline: options.Deadline = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Ask the running gateway every problem of a file and print accuracy, tokens and seconds per question.

    The file's order is kept, and nothing is taken from the gateway's memory or left there. Exits with 1 if a question
    failed, with 2 if the file or an option is wrong.
    """
    wishes = Wishes(early_stop=early_stop, economy=economy, settings=options.settings(parameters))
    counts = _counts(samples, strategy, wishes)
    try:
        problems = read_problems(file, limit)
    except BadFile as error:
        notes().print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(2) from error

    async def run() -> Evaluation:
        async with Client(options.gateway_url(url)) as client:
            search = Search(
                model=await client.model(model),
                strategy=strategy,
                no_store=True,
                early_stop=early_stop,
                economy=economy,
                settings=wishes.settings,
                source=score_by,
                select=select,
                steps=steps,
                parallel=parallel,
                seed=seed,
                max_tokens=max_tokens,
                deadline_s=deadline,
            )
            grader = MathAnswers()
            try:
                return await evaluate(client, grader, str(file), problems, search, counts, concurrency)
            finally:
                await grader.aclose()

    try:
        evaluation = asyncio.run(run())
    except MullError as error:
        give_up(error)
    for line in evaluation.errors:
        notes().print(Text(harmless(line), style="red"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(evaluation.to_json(), ensure_ascii=False))
    else:
        show(output(), evaluation)
    if evaluation.errors:
        raise typer.Exit(1)


async def evaluate(
    client: Client,
    grader: Grader,
    file: str,
    problems: list[Problem],
    search: Search,
    counts: list[int],
    concurrency: int,
) -> Evaluation:
    """Ask `problems` once per number of samples in `counts`, with a progress bar on stderr.

    A strategy without `samples` is asked once; its count then says how many candidates it starts at most.
    Raises `GatewayDown` if nothing answers at the start; later failures are counted.
    """
    await client.models()
    tallies: list[tuple[int, Tally]] = []
    errors: list[str] = []
    console = notes()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[right]} right"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        for count in counts:
            asked = replace(search, samples=count) if has_samples(search.strategy) else search
            done = _Bar(progress, f"{search.strategy} {count}", len(problems))
            graded = await grade_all(client, grader, problems, asked, concurrency=concurrency, done=done)
            tallies.append((count, Tally.of(graded)))
            errors += [f"samples {count}: {line}" for line in describe_errors(graded)]
    return Evaluation(file, search, concurrency, tuple(tallies), tuple(errors))


class _Bar:
    """One line of the progress bar, moved on by each result."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._right = 0
        self._task = progress.add_task(name, total=total, right=0)

    def __call__(self, graded: Graded) -> None:
        self._right += graded.correct
        self._progress.update(self._task, advance=1, right=self._right)


def has_samples(strategy: str) -> bool:
    """Tell whether a strategy of the registry has a parameter `samples`."""
    return "samples" in STRATEGIES[strategy].model_fields


def _counts(samples: str | None, strategy: str, wishes: Wishes) -> list[int]:
    default = _checked(strategy, wishes).candidates
    if samples is None:
        return [default]
    try:
        counts = [int(part) for part in samples.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            "numbers with commas between them are wanted, as in 1,4,16", param_hint="--samples"
        ) from error
    if min(counts) < 1 or len(set(counts)) < len(counts):
        raise typer.BadParameter("every number must be at least 1 and stand there once", param_hint="--samples")
    if has_samples(strategy):
        for count in counts:
            _checked(strategy, replace(wishes, samples=count))
    elif counts != [1] or default != 1:
        raise typer.BadParameter(f"{strategy} has no number of samples; leave it out", param_hint="--samples")
    return counts


def _checked(strategy: str, wishes: Wishes) -> Spec:
    try:
        return built(None, {"name": strategy, **wishes.parameters})
    except InvalidRequest as error:
        raise typer.BadParameter(sentence(error)) from None
