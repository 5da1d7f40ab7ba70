"""`mull demo`: the whole service at work on ten held-out problems, from nothing running to nothing running."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

import models
from service.cli.client import Client
from service.cli.problems import BadFile, Problem, read_problems
from service.cli.showcase import Showcase, choose, comparison, read_card, run, tell_one
from service.cli.terminal import give_up, output
from service.errors import InvalidRequest, MullError, StackError
from service.search.answers import MathAnswers
from service.settings import Settings
from service.settings_file import load_settings
from service.stack.engine import detect_profile
from service.stack.lifecycle import start_detached, stop_stack
from service.stack.state import StateDir

MODEL = "tiny"
QUESTIONS = 10
FOLDER = Path(models.__file__).parent
HELD_OUT = FOLDER / "heldout.jsonl"
CARD = FOLDER / "measured.json"


def command() -> None:
    """Solve ten held-out problems with one sample, greedily and with a vote of sixteen; compare with the model card.

    Starts the stack and stops it again; a stack that already runs is used and left up. The last line on stdout is
    one JSON object.
    """
    console = output()
    try:
        held_out = read_problems(HELD_OUT)
        problems = choose(held_out, QUESTIONS)
        with _stack(console, load_settings()) as url:
            console.print(f"\nThe {QUESTIONS} of {len(held_out)} held-out problems whose id has the smallest hash:\n")
            showcase = asyncio.run(_ask(console, url, problems))
            _report(console, showcase)
    except BadFile as error:
        give_up(StackError(str(error), hint="The demo runs in a checkout of the project."))
    except MullError as error:
        give_up(error)
    typer.echo(json.dumps(showcase.to_json()))


@contextmanager
def _stack(console: Console, settings: Settings) -> Iterator[str]:
    """Give the URL of a stack that can answer: the one that runs, or one that lasts as long as the context."""
    running = StateDir(settings.state_dir).load()
    if running is not None and running.ready and running.supervisor.alive():
        console.print(f"Using the stack that runs on {running.url}.")
        yield running.url
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    console.print("Starting the stack: Redis, Ray, two vLLM servers, the workers, the gateway.")

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    with console.status("starting …"):
        state = start_detached(settings, profile=detect_profile(), say=say)
    try:
        yield state.url
    finally:
        stop_stack(settings.state_dir, say)


def _leave(number: int, frame: object) -> None:
    """End as Ctrl-C does: on the way out the stack is stopped."""
    sys.exit(128 + number)


async def _ask(console: Console, url: str, problems: list[Problem]) -> Showcase:
    async with Client(url) as client:
        known = await client.models()
        if MODEL not in known:
            raise InvalidRequest(
                f"The stack on {url} serves {', '.join(known)}.",
                hint=f"The demo needs the model {MODEL!r} of the project's own mull.yaml.",
            )
        grader = MathAnswers()
        try:
            return await run(console, client, grader, problems, MODEL)
        finally:
            await grader.aclose()


def _report(console: Console, showcase: Showcase) -> None:
    console.print()
    tell_one(console, showcase)
    console.print()
    console.print(comparison(showcase, read_card(CARD)))
    cached = sum(one.reply is not None and one.reply.cache == "hit" for row in showcase.rows for one in row.values())
    asked = len(showcase.rows) * 3
    line = f"{asked} questions in {showcase.seconds:.1f} s, {cached} from the cache; tokens are means per question."
    console.print(Text(line, style="dim"))
