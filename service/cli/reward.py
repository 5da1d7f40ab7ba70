"""`mull reward`: the reward models that are known, what they say of given solutions, and what they are worth."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from reward_models.presets import PRESETS
from reward_models.skywork_checkpoint import convert as convert_checkpoint
from service.cli import options
from service.cli.problems import BadFile
from service.cli.reward_bench import measured, show, spent
from service.cli.reward_items import GIVEN_FORM, LABELLED_FORM, Given, Item, item_of, read_given, read_labelled
from service.cli.reward_judge import Choice, Judge, opened, step_form
from service.cli.reward_plot import check_plot, draw
from service.cli.reward_scoring import Scored, Scoring
from service.cli.terminal import give_up, harmless, notes, output, sentence
from service.errors import EngineError, InvalidRequest, MullError
from service.search.request import RewardUsage

app = typer.Typer(no_args_is_help=True, help="Reward models: which are known, what they score, how well they judge.")

Reward = Annotated[str | None, typer.Option("--reward", help="Judge by a reward model of yours: my.py:MyPRM.")]
RewardUrl = Annotated[
    str | None,
    typer.Option("--reward-url", help="Judge by the vLLM server there (its root, without /v1), not the stack's."),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="How the one at --reward-url is read; default: as its name tells.")
]
ApiKeyEnv = Annotated[str | None, typer.Option("--api-key-env", help="Variable with the key of --reward-url.")]
Source = Annotated[
    str | None,
    typer.Option("--source", help="Judge by the policy's own mean_logprob, or self_certainty@20, without one."),
]
MathOnly = Annotated[bool, typer.Option("--math-only", help="Show it formulas and numbers only, without the words.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="The model whose reward model judges, or policy; needed where there are several."),
]


@app.command()
def presets() -> None:
    """List the reward models that `preset:` in mull.yaml and `mull up --reward` take."""
    console = output()
    columns = "{:<30}{:<15}{:<10}{:>7}".format
    console.print(Text(columns("preset", "family", "reads", "context"), style="bold"))
    for name, preset in PRESETS.items():
        context = "its own" if preset.context is None else f"{preset.context:,}"
        console.print(Text(columns(name, preset.family.name, preset.family.reads, context)))
        # On a line of its own and never folded, so that it can be copied.
        console.print(Text(f"  {preset.source}", style="dim"), soft_wrap=True)


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help=f"Lines of {GIVEN_FORM}; - is stdin.")],
    reward: Reward = None,
    reward_url: RewardUrl = None,
    preset: PresetOption = None,
    api_key_env: ApiKeyEnv = None,
    source: Source = None,
    model: Model = None,
    math_only: MathOnly = False,
) -> None:
    """Score given solutions; print each line again with its steps and one score for each of them.

    Those that are one text are cut into steps as the policy's are; an outcome reward model gives one score for each
    solution. One that cannot be scored, being too long, gets an "error" in the place of scores; the command then ends
    with 1.
    """
    choice = Choice(reward, reward_url, preset, api_key_env, source, model, math_only)
    try:
        choice.check()
        given = read_given(file, step_form(choice))
        printed = _InOrder(given)
        scored, _, usage, _ = _run(choice, [one.item for one in given], printed=printed)
    except BadFile as error:
        _refuse(error)
    except MullError as error:
        give_up(error)
    notes().print(Text(f"{sum(len(one.scores) for one in scored):,} scores. {spent(usage)}.", style="dim"))
    if any(one.error is not None for one in scored):
        raise typer.Exit(1)


@app.command()
def bench(
    file: Annotated[Path, typer.Argument(help=f"ProcessBench's form: lines of {LABELLED_FORM}; - is stdin.")],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Also report this one, found elsewhere (default: 0.5)."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the reliability diagram there, as a PNG.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first so many solutions.")] = None,
    reward: Reward = None,
    reward_url: RewardUrl = None,
    preset: PresetOption = None,
    api_key_env: ApiKeyEnv = None,
    source: Source = None,
    model: Model = None,
    math_only: MathOnly = False,
    as_json: options.Json = False,
) -> None:
    """Measure a judge by ProcessBench's protocol: does it find the first wrong step, and pass right solutions?

    A step is wrong that scores below a threshold, which is chosen on one half of the solutions and reported on the
    other. Area under the curve and calibration are over all steps up to the first wrong one; of an outcome reward
    model, over final answers. What cannot be scored, being too long, is counted as that, and is in no measure.
    """
    choice = Choice(reward, reward_url, preset, api_key_env, source, model, math_only)
    try:
        choice.check()
        if plot is not None:
            check_plot(plot)

        def fits(judge: Judge) -> None:
            if threshold is not None and (judge.names is not None or judge.scorer.reads == "answer"):
                why = "names steps by itself" if judge.names is not None else "names no step"
                raise InvalidRequest(f"{judge.name} {why}: it has no threshold.", hint="Leave --threshold out.")

        solutions = read_labelled(file, limit)
        form = step_form(choice)
        scored, judge, usage, seconds = _run(choice, [item_of(solution, form) for solution in solutions], fits=fits)
        found = measured(
            str(file),
            judge,
            solutions,
            scored,
            threshold=0.5 if threshold is None else threshold,
            usage=usage,
            seconds=seconds,
        )
        if plot is not None:
            draw(found, plot)
    except BadFile as error:
        _refuse(error)
    except MullError as error:
        give_up(error)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        show(output(), found)
    if any(isinstance(one.error, EngineError) for one in scored):
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="The folder of a Skywork-o1-Open-PRM checkpoint.")],
    target: Annotated[Path, typer.Argument(help="Where to write the one that vLLM serves; must not exist.")],
) -> None:
    """Write a Skywork-o1-Open-PRM checkpoint in the form that stock vLLM serves."""
    try:
        convert_checkpoint(source, target)
    except (ValueError, OSError) as error:
        notes().print(Text(str(error), style="red"), soft_wrap=True)
        raise typer.Exit(1) from None
    typer.echo(f"{target} is ready: give it as `model:` of a reward model in mull.yaml, with its `preset:`.")


class _InOrder:
    """Prints each line with its scores as soon as those of the lines before it are printed."""

    def __init__(self, given: Sequence[Given]) -> None:
        self._given = given
        self._waiting: dict[int, str] = {}
        self._next = 0

    def __call__(self, judge: Judge, place: int, scored: Scored) -> None:
        self._waiting[place] = json.dumps(_line(self._given[place], judge, scored))
        while self._next in self._waiting:
            typer.echo(self._waiting.pop(self._next))
            self._next += 1


def _line(given: Given, judge: Judge, scored: Scored) -> dict[str, object]:
    line = {key: value for key, value in given.line.items() if key not in ("score", "scores", "error")}
    line["steps"] = given.item.steps
    if scored.error is not None:
        return line | {"error": sentence(scored.error)}
    return line | ({"score": scored.scores[0]} if judge.scorer.reads == "answer" else {"scores": scored.scores})


def _run(
    choice: Choice,
    items: Sequence[Item],
    *,
    fits: Callable[[Judge], None] = lambda judge: None,
    printed: _InOrder | None = None,
) -> tuple[list[Scored], Judge, RewardUsage, float]:
    """Score `items`, with a progress bar on stderr where the results are not printed to the same terminal.

    `fits` is told who judges before anything is asked, and may raise `MullError`.
    """
    console = notes()
    hidden = not console.is_terminal or (printed is not None and output().is_terminal)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Not redirected: what is printed belongs on stdout, also while the bar is on stderr.
    bar = Progress(*columns, console=console, disable=hidden, redirect_stdout=False)

    async def run() -> tuple[list[Scored], Judge, RewardUsage, float]:
        async with opened(choice) as judge:
            fits(judge)
            with bar:
                task = bar.add_task(harmless(judge.name), total=len(items))

                def done(place: int, scored: Scored) -> None:
                    bar.advance(task)
                    if printed is not None:
                        printed(judge, place, scored)

                scoring = Scoring(judge)
                begun = time.perf_counter()
                scored = await scoring.all(items, done)
                return scored, judge, scoring.usage, time.perf_counter() - begun

    return asyncio.run(run())


def _refuse(error: BadFile) -> NoReturn:
    notes().print(Text(str(error), style="red"), soft_wrap=True)
    raise typer.Exit(2) from error
