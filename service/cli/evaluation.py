"""What an evaluation found, for readers and for machines."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.cli.client import Search
from service.cli.grading import Tally

COLUMNS = ("samples", "accuracy", "95 % interval", "policy\ntokens", "reward\ntokens", "seconds", "errors")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluated file: what was asked, and per number of samples the tally."""

    file: str
    search: Search
    concurrency: int
    tallies: tuple[tuple[int, Tally], ...]
    errors: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain data: shares in [0, 1]; tokens and seconds per question."""
        return {
            "file": self.file,
            "model": self.search.model,
            "strategy": self.search.strategy,
            "early_stop": self.search.early_stop,
            "economy": self.search.economy,
            "parameters": dict(self.search.settings),
            "source": self.search.source,
            "select": self.search.select,
            "steps": self.search.steps,
            "parallel": self.search.parallel,
            "seed": self.search.seed,
            "concurrency": self.concurrency,
            "questions": self.tallies[0][1].questions,
            "results": [_row(samples, tally) for samples, tally in self.tallies],
        }


def show(console: Console, evaluation: Evaluation) -> None:
    """Print the table for reading; fits 80 columns."""
    search, first = evaluation.search, evaluation.tallies[0][1]
    given = "".join(f", {name} {value}" for name, value in search.settings.items())
    head = f"{search.strategy}{given} with {search.model} on the first {first.questions} problems of {evaluation.file}"
    console.print(Text(f"{head}, seed {search.seed}"))
    console.print(tallies_table(evaluation.tallies))
    how = "all generated policy tokens, all submitted reward tokens, seconds to the answer"
    note = f"Means per question: {how} with {evaluation.concurrency} questions in flight."
    console.print(Text(note, style="dim"))
    for samples, tally in evaluation.tallies:
        for line in _remarks(tally):
            console.print(Text(f"samples {samples}: {line}", style="yellow"))


def tallies_table(tallies: tuple[tuple[int, Tally], ...]) -> Table:
    """Return one line per number of samples."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for samples, tally in tallies:
        errors = Text(str(tally.errors), style="bold red" if tally.errors else "")
        table.add_row(str(samples), *cells(tally), errors)
    return table


def cells(tally: Tally) -> list[str]:
    """Return accuracy, interval, policy tokens, reward tokens and seconds; "none" where nothing was measured."""
    accuracy = interval = "none"
    if tally.accuracy is not None:
        accuracy, interval = f"{tally.accuracy:.1%}", span(*tally.interval)
    return [accuracy, interval, _mean(tally.policy_tokens), _mean(tally.reward_tokens), _mean(tally.seconds, 2)]


def span(low: float, high: float) -> str:
    """Return an interval of shares in per cent."""
    return f"{low:.1%} to {high:.1%}"


def _mean(value: float | None, digits: int = 0) -> str:
    return "none" if value is None else f"{value:,.{digits}f}"


def _remarks(tally: Tally) -> list[str]:
    remarks = []
    if tally.errors:
        remarks.append(f"{tally.errors} of {tally.questions} questions failed: neither right nor wrong")
    if tally.unanswered:
        remarks.append(f"{tally.unanswered} of {tally.replied} solutions held no answer: wrong")
    if tally.cached:
        remarks.append(f"{tally.cached} answers came from the cache: with the tokens they once cost, without seconds")
    return remarks


def _row(samples: int, tally: Tally) -> dict[str, object]:
    low, high = tally.interval
    return {
        "samples": samples,
        "accuracy": tally.accuracy,
        "interval_95": [low, high],
        "correct": tally.correct,
        "replied": tally.replied,
        "unanswered": tally.unanswered,
        "errors": tally.errors,
        "cached": tally.cached,
        "policy_tokens": tally.policy_tokens,
        "reward_tokens": tally.reward_tokens,
        "seconds": tally.seconds,
    }
