"""What a judge is worth: ProcessBench's F1, the area under the curve and the calibration, for readers and machines."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reward_models.calibration import (
    BINS,
    Bin,
    area_interval,
    area_under_curve,
    calibration_error,
    reliability,
    scored_steps,
)
from reward_models.processbench import NONE, Found, LabelledSolution, best_threshold, halves, named_at
from reward_models.protocol import Reads
from service.cli.evaluation import span
from service.cli.intervals import wilson
from service.cli.reward_judge import Judge
from service.cli.reward_scoring import Scored
from service.errors import EngineError, InvalidRequest
from service.search.request import RewardUsage

CHOSEN_ON = {"half": "the other half", "same": "the same solutions", "fixed": "none: fixed", "verdict": "own verdict"}


@dataclass(frozen=True, slots=True)
class Row:
    """How well first wrong steps were found, and with which threshold; a "verdict" needs none.

    It was chosen on the other "half" of the solutions, or on the "same" ones; or it was "fixed" before.
    """

    chosen_on: Literal["half", "same", "fixed", "verdict"]
    threshold: float | None
    found: Found


@dataclass(frozen=True, slots=True)
class Bench:
    """One judge, measured. The scores of an outcome reward model are compared with whether the answer is right.

    `rows` is empty for an outcome reward model, which names no step. `area` needs something right and something wrong.
    What is in `not_scored` is in no measure, but that a judge which gave no verdict has not found the step.
    """

    file: str
    judge: str
    reads: Reads
    are_probabilities: bool
    solutions: int
    not_scored: tuple[Scored, ...]
    rows: tuple[Row, ...]
    scored: int
    area: float | None
    area_interval: tuple[float, float] | None
    bins: tuple[Bin, ...]
    usage: RewardUsage
    seconds: float

    @property
    def has_own_verdict(self) -> bool:
        """Whether the judge says itself which step is the first wrong one, without a threshold."""
        return any(row.chosen_on == "verdict" for row in self.rows)

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error in [0, 1]; `None` where nothing was scored."""
        return calibration_error(self.bins) if self.bins else None

    def to_json(self) -> dict[str, object]:
        """Return plain data: shares in [0, 1]; the intervals are of 95 %."""
        return {
            "file": self.file,
            "judge": self.judge,
            "reads": self.reads,
            "solutions": self.solutions,
            "not_scored": {scored.item.name: str(scored.error) for scored in self.not_scored},
            "first_wrong_step": [_row(row) for row in self.rows],
            "scored": self.scored,
            "auc": self.area,
            "auc_interval_95": self.area_interval,
            "ece": self.calibration_error,
            "are_probabilities": self.are_probabilities,
            "bins": [asdict(held) for held in self.bins],
            "reward_tokens": self.usage.model_dump(),
            "seconds": self.seconds,
        }


def measured(
    file: str,
    judge: Judge,
    solutions: Sequence[LabelledSolution],
    scored: Sequence[Scored],
    *,
    threshold: float,
    usage: RewardUsage,
    seconds: float,
) -> Bench:
    """Return what the scores of `solutions`, in the same order, say about the judge."""
    pairs = list(zip(solutions, scored, strict=True))
    judged = [(solution, found.scores) for solution, found in pairs if found.error is None]
    if judge.scorer.reads == "answer":
        parts = [[(scores[0], solution.final_answer_correct)] for solution, scores in judged]
        rows: list[Row] = []
    else:
        parts = [scored_steps(scores, solution.label) for solution, scores in judged]
        rows = _chosen(judged, threshold) if judge.names is None else [_own_verdict(judge.names, pairs)]
    flat = [pair for part in parts for pair in part]
    has_both = len({right for _, right in flat}) == 2
    return Bench(
        file=file,
        judge=judge.name,
        reads=judge.scorer.reads,
        are_probabilities=judge.are_probabilities,
        solutions=len(solutions),
        not_scored=tuple(found for found in scored if found.error is not None),
        rows=tuple(rows),
        scored=len(flat),
        area=area_under_curve(flat) if has_both else None,
        area_interval=area_interval(parts) if has_both else None,
        bins=tuple(reliability(flat)),
        usage=usage,
        seconds=seconds,
    )


def _chosen(judged: Sequence[tuple[LabelledSolution, Sequence[float]]], threshold: float) -> list[Row]:
    labelled = [(scores, solution.label) for solution, scores in judged]
    rows = []
    chosen, reported = halves([solution for solution, _ in judged])
    chosen_on, reported_on = ([labelled[place] for place in half] for half in (chosen, reported))
    if all({label == NONE for _, label in half} == {True, False} for half in (chosen_on, reported_on)):
        best = best_threshold(chosen_on)
        rows.append(Row("half", best, named_at(reported_on, best)))
        best = best_threshold(labelled)
        rows.append(Row("same", best, named_at(labelled, best)))
    rows.append(Row("fixed", threshold, named_at(labelled, threshold)))
    return rows


def _own_verdict(names: Callable[[Sequence[float]], int], pairs: Sequence[tuple[LabelledSolution, Scored]]) -> Row:
    """As in ProcessBench, a judge that gives no verdict has missed; one that could not be asked is left out."""
    asked = [(solution, found) for solution, found in pairs if not isinstance(found.error, InvalidRequest)]
    named = [names(found.scores) if found.error is None else None for _, found in asked]
    return Row("verdict", None, Found.of(named, [solution.label for solution, _ in asked]))


def show(console: Console, bench: Bench) -> None:
    """Print the measures for reading; fits 80 columns."""
    console.print(Text(f"{bench.judge} on {bench.solutions} solutions of {bench.file}"))
    if bench.rows:
        console.print(_table(bench.rows))
    what = "solutions, by their final answers" if bench.reads == "answer" else "steps up to the first wrong one"
    area = "none: that takes right and wrong ones"
    if bench.area is not None:
        area = f"{bench.area:.3f}"
        if bench.area_interval is not None:
            area += " ({:.3f} to {:.3f})".format(*bench.area_interval)
    console.print(Text(f"Over {bench.scored:,} {what}:"))
    console.print(Text(f"  area under the ROC curve     {area}"))
    if bench.calibration_error is not None:
        console.print(Text(f"  expected calibration error   {bench.calibration_error:.3f} ({BINS} bins)"))
    console.print(Text(f"{spent(bench.usage)}; {bench.seconds:.1f} s", style="dim"))
    for line in _remarks(bench):
        console.print(Text(line, style="yellow"))


def spent(usage: RewardUsage) -> str:
    """Return what scoring has cost, in words."""
    cached = "cached: not told" if usage.cached is None else f"{usage.cached:,} cached"
    about = "about " if usage.estimated else ""
    return f"Reward tokens: {about}{usage.submitted:,} submitted ({cached}), {usage.generated:,} generated"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("threshold\nchosen on")
    table.add_column("\nthreshold", justify="right")
    table.add_column("first wrong\nstep found", justify="right")
    table.add_column("right ones\npassed", justify="right")
    table.add_column("\nF1", justify="right")
    for row in rows:
        interval = row.found.f1_interval()
        table.add_row(
            CHOSEN_ON[row.chosen_on],
            "none" if row.threshold is None else f"{row.threshold:.3f}",
            *(_share(sum(hits), len(hits)) for hits in (row.found.wrong, row.found.right)),
            "none" if row.found.f1 is None or interval is None else f"{row.found.f1:.1%}\n{span(*interval)}",
        )
    return table


def _share(hits: int, total: int) -> str:
    return f"{hits / total:.1%} of {total}\n{span(*wilson(hits, total))}" if total else "none there"


def _remarks(bench: Bench) -> list[str]:
    remarks = []
    if bench.not_scored:
        first = bench.not_scored[0]
        remarks.append(
            f"{len(bench.not_scored)} solutions could not be scored and are in no measure; "
            f"the first is {first.item.name}: {first.error}"
        )
        missed = sum(isinstance(found.error, EngineError) for found in bench.not_scored)
        if bench.has_own_verdict and missed:
            remarks.append(f"Without a verdict on {missed} of them the judge has missed: they count for F1.")
    if len(bench.rows) == 1 and not bench.has_own_verdict:
        remarks.append("No threshold could be chosen: that takes two right and two wrong solutions.")
    if any(row.chosen_on == "same" for row in bench.rows):
        remarks.append("A threshold chosen on the same solutions flatters; quote the one of the other half.")
    if not bench.are_probabilities:
        remarks.append("These scores are not meant as probabilities: the calibration error says how far they are off.")
    return remarks


def _row(row: Row) -> dict[str, object]:
    found = row.found
    return {
        "chosen_on": row.chosen_on,
        "threshold": row.threshold,
        "wrong": len(found.wrong),
        "wrong_found": sum(found.wrong),
        "wrong_interval_95": wilson(sum(found.wrong), len(found.wrong)),
        "right": len(found.right),
        "right_passed": sum(found.right),
        "right_interval_95": wilson(sum(found.right), len(found.right)),
        "f1": found.f1,
        "f1_interval_95": found.f1_interval(),
    }
