"""Ten held-out problems asked in three ways: with one sample, greedily, and with a vote of sixteen."""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.cli.answer import show_solution, votes_table
from service.cli.client import Client, Search
from service.cli.evaluation import span
from service.cli.grading import Graded, Grader, Tally, grade
from service.cli.outcome import Reply
from service.cli.problems import Problem
from service.cli.terminal import harmless
from strategies.spec import ScoreSpec


@dataclass(frozen=True, slots=True)
class Way:
    """One column: its title, how to search, and the name of its figure in the model card."""

    title: str
    strategy: str
    samples: int | None
    figure: str


ONE = Way("one sample", "sample", None, "pass@1")
GREEDY = Way("greedy", "greedy", None, "greedy")
VOTE = Way("vote of 16", "best_of_n", 16, f"vote@16 {ScoreSpec().steps}")
WAYS = (ONE, GREEDY, VOTE)
WIDTH = 13
"""Columns of the terminal for each way."""

Row = dict[Way, Graded]


def choose(problems: Sequence[Problem], count: int) -> list[Problem]:
    """Return the `count` problems whose id has the smallest SHA-256, smallest first: by rule, not by result."""
    return sorted(problems, key=lambda problem: hashlib.sha256(problem.id.encode()).digest())[:count]


@dataclass(frozen=True, slots=True)
class Showcase:
    """All rows, one per problem, and the seconds they took together."""

    rows: tuple[Row, ...]
    seconds: float

    def tally(self, way: Way) -> Tally:
        """Count one column."""
        return Tally.of([row[way] for row in self.rows])

    def to_json(self) -> dict[str, float | int | None]:
        """Return accuracies in [0, 1], and the tokens and seconds of all three columns together."""
        replies = [one.reply for row in self.rows for one in row.values() if one.reply is not None]
        return {
            "accuracy_n1": self.tally(ONE).accuracy,
            "accuracy_greedy": self.tally(GREEDY).accuracy,
            "accuracy_n16": self.tally(VOTE).accuracy,
            "questions": len(self.rows),
            "policy_tokens": sum(reply.mull.usage.policy_tokens for reply in replies),
            "reward_tokens": sum(reply.mull.usage.reward.submitted for reply in replies),
            "seconds": round(self.seconds, 1),
        }


async def run(console: Console, client: Client, grader: Grader, problems: Sequence[Problem], model: str) -> Showcase:
    """Ask every problem in all ways, printing each row as it is there. Raises the first `MullError` it meets."""
    titles = "".join(f"{way.title:<{WIDTH}}" for way in WAYS)
    console.print(Text(f"{'problem':<14}{'right answer':<15}{titles}", style="bold"))
    started = time.monotonic()
    rows = []
    for problem in problems:
        row = await _ask(client, grader, problem, model)
        console.print(_live_row(problem, row))
        rows.append(row)
    return Showcase(tuple(rows), time.monotonic() - started)


async def _ask(client: Client, grader: Grader, problem: Problem, model: str) -> Row:
    searches = [Search(model, way.strategy, samples=way.samples, seed=0) for way in WAYS]
    asked = (grade(client, grader, problem, search, include=("candidates",)) for search in searches)
    graded = await asyncio.gather(*asked)
    for one in graded:
        if one.error is not None:
            raise one.error
    return dict(zip(WAYS, graded, strict=True))


def _live_row(problem: Problem, row: Row) -> Text:
    line = Text(f"{problem.id:<14}{problem.answer:<15}")
    for graded in row.values():
        answer = graded.reply.mull.answer if graded.reply is not None else None
        shown = "none" if answer is None else " ".join(harmless(answer).split())[: WIDTH - 3]
        mark, style = ("✓", "green") if graded.correct else ("✗", "red")
        line.append(f"{mark} {shown}".ljust(WIDTH), style=style)
    return line


def read_card(path: Path) -> dict[str, tuple[float, float]]:
    """Return the model card's figures by name: a share in [0, 1] and half its 95 % interval; none without a file."""
    if not path.exists():
        return {}
    return {name: (v[0], v[1]) for name, v in json.loads(path.read_text()).items() if isinstance(v, list)}


def comparison(showcase: Showcase, card: dict[str, tuple[float, float]]) -> Table:
    """Return these problems' figures beside the model card's, a line per way."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("these problems")
    for column in ("right", "95 % interval", "policy\ntokens", "reward\ntokens", "all held-out\n(model card)"):
        table.add_column(column, justify="right")
    for way in WAYS:
        tally = showcase.tally(way)
        share, half = card.get(way.figure, (None, None))
        known = "not measured" if share is None else f"{share:.1%} ± {half:.1%}"
        right = f"{tally.correct} of {tally.replied}"
        cost = [f"{tally.policy_tokens:,.0f}", f"{tally.reward_tokens:,.0f}"]
        table.add_row(way.title, right, span(*tally.interval), *cost, known)
    return table


def tell_one(console: Console, showcase: Showcase) -> None:
    """Print the first problem that one sample got wrong and the vote right; say so if there is none."""
    for row in showcase.rows:
        alone, voted = row[ONE], row[VOTE]
        if not alone.correct and voted.correct and alone.reply is not None and voted.reply is not None:
            _tell(console, alone.problem, alone.reply, voted.reply)
            return
    console.print("None of these problems was wrong with one sample and right with sixteen.")


def _tell(console: Console, problem: Problem, alone: Reply, voted: Reply) -> None:
    console.print(Text(f"One of them in full: {problem.id}", style="bold"))
    console.print(Padding(Text(problem.problem), (0, 0, 0, 2)))
    for title, reply in (("One sample, wrong", alone), ("Best candidate of the vote, right", voted)):
        console.print(Text(f"\n{title}", style="bold"))
        for candidate in (reply.mull.candidates or ())[:1]:
            show_solution(console, candidate)
    console.print(Text("\nThe vote", style="bold"), votes_table(voted.mull))
