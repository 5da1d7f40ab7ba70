"""The candidates of a search over time: when each step was written, how it scored, and how each candidate ended."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.answer import one_line
from service.cli.lives import Life
from service.cli.terminal import score_bar, score_style
from service.search.request import CandidateResult

WIDTH = 32
"""Columns of the time axis."""
SHOWN = 32
"""Candidates drawn; a longer list is cut, and says so."""
UNSCORED = "┼"


def show_timeline(
    console: Console, lives: Sequence[Life], seconds: float, best: CandidateResult, *, whole: bool = False
) -> None:
    """Print one line per candidate, `best` marked; fits 80 columns and needs no colour.

    The first `SHOWN` of them, unless the `whole` list is wanted.
    """
    chosen = next((life for life in lives if _is(life, best)), None)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("    #", justify="right", no_wrap=True)
    table.add_column(_axis(seconds), no_wrap=True, min_width=WIDTH)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("how it ended", overflow="fold")
    shown = lives if whole else lives[:SHOWN]
    for life in shown:
        number = ("▸ " if life is chosen else "") + ".".join(str(part) for part in life.node)
        table.add_row(number, line(life, seconds), _tokens(life), _end(life), style="bold" if life is chosen else "")
    console.print(table)
    if len(lives) > len(shown):
        console.print(f"  … and {len(lives) - len(shown)} more: --all shows them")
    for remark in _legend(lives):
        console.print(Text(f"  {remark}", style="dim"))


def line(life: Life, seconds: float) -> Text:
    """Return one candidate on a time axis of at most `WIDTH` columns that is `seconds` long.

    Steps that were written at nearly the same time stand side by side: each of them is seen.
    """
    first, last = _column(life.asked, seconds), _column(seconds if life.over is None else life.over, seconds)
    cells = [(" ", "")] * first + [("·", "dim")] * (last - first + 1)
    free = first
    for index, at in enumerate(life.steps):
        column = min(max(free, _column(at, seconds)), WIDTH - 1)
        cells += [("·", "dim")] * (column + 1 - len(cells))
        score = life.scores.get(index)
        cells[column] = (UNSCORED, "") if score is None else (score_bar(score), score_style(score))
        free = column + 1
    return Text.assemble(*cells)


def _is(life: Life, candidate: CandidateResult) -> bool:
    """Tell whether they are the same. Of several that wrote the same, the first is the one that is chosen."""
    text = life.ended.text if life.ended is not None else None
    return text == candidate.text and len(life.scores) == len(candidate.scores)


def _legend(lives: Sequence[Life]) -> list[str]:
    scored, continued = any(life.scores for life in lives), any(life.before for life in lives)
    marks = "each mark is a step, its height the score" if scored else f"{UNSCORED} is a step"
    before = ["tokens are new + paid before, by the search that was continued"] if continued else []
    return [f"· waits or writes; {marks}", *before]


def _axis(seconds: float) -> Text:
    end = f"{seconds:.2f} s"
    return Text("0 s" + end.rjust(WIDTH - 3))


def _column(at: float, seconds: float) -> int:
    return min(WIDTH - 1, int(at / seconds * WIDTH)) if seconds > 0 else 0


def _tokens(life: Life) -> str:
    return f"{life.tokens:,}" if not life.before else f"{life.tokens - life.before:,}+{life.before:,}"


def _end(life: Life) -> Text:
    if life.stopped is not None:
        return Text(f"{'stopped' if life.tokens else 'not started'}: {life.stopped}", style="yellow")
    if life.ended is None:
        return Text("")
    end = Text("no answer" if life.ended.answer is None else one_line(life.ended.answer.text))
    return end.append(", cut at its token cap", style="yellow") if life.ended.reason == "length" else end
