"""What the commands share in a terminal: two consoles, scores as colour and bar, text made harmless."""

import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from service.errors import ConfigError, MullError

BARS = "▁▂▃▄▅▆▇█"
BAR_WIDTH = 20


def output() -> Console:
    """Return a console on stdout, for results. Characters that its encoding lacks become question marks."""
    return _console(stderr=False)


def notes() -> Console:
    """Return a console on stderr, for progress and complaints."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def sentence(error: MullError) -> str:
    """Return what went wrong and what to do next, in one line."""
    return " ".join(f"{error.message} {error.hint}".split())


def give_up(error: MullError) -> NoReturn:
    """Print the error in one line and exit: with 2 if the configuration is wrong, else with 1."""
    notes().print(Text(sentence(error), style="red"), soft_wrap=True)
    raise typer.Exit(2 if isinstance(error, ConfigError) else 1)


def harmless(text: str) -> str:
    """Return `text` without control characters: what a model writes must not steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char == "\n")


def score_style(score: float) -> str:
    """Return the colour of a score in [0, 1]: green, yellow or red."""
    return "green" if score >= 0.8 else "yellow" if score >= 0.5 else "red"


def score_bar(score: float) -> str:
    """Return a score in [0, 1] as a bar of one place."""
    return BARS[min(len(BARS) - 1, int(score * len(BARS)))]


def score_text(score: float) -> Text:
    """Return a score as a number; one in [0, 1] with a small bar in front, green, yellow or red."""
    if not 0 <= score <= 1:
        return Text(f"{score:.3g}")
    return Text(f"{score_bar(score)}{score:.2f}", style=score_style(score))


def share_bar(share: float) -> str:
    """Return a share in [0, 1] as a bar of `BAR_WIDTH` places; never empty for a share above zero."""
    filled = round(share * BAR_WIDTH) or (1 if share > 0 else 0)
    return "█" * filled + "·" * (BAR_WIDTH - filled)
