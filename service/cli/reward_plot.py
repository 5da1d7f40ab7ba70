"""The reliability diagram of a judge, as a PNG."""

from importlib.util import find_spec
from pathlib import Path

from reward_models.calibration import BINS
from service.cli.intervals import wilson
from service.cli.reward_bench import Bench
from service.errors import InvalidRequest

INCHES = (5.0, 5.6)
DOTS_PER_INCH = 110


def check_plot(file: Path) -> None:
    """Raise `InvalidRequest` where `file` could not be drawn: before anything is scored."""
    if find_spec("matplotlib") is None:
        raise InvalidRequest("--plot needs matplotlib.", hint="pip install 'mull[plot]'", param="plot")
    if file.is_dir() or not file.resolve().parent.is_dir():
        raise InvalidRequest(f"No picture can be written to {file}.", hint="Name a file in a folder that exists.")


def draw(bench: Bench, file: Path) -> None:
    """Draw the share of right ones over the mean score of each bin, and how many are in each.

    The bars are 95 % Wilson intervals, as if the steps did not depend on each other. Raises `InvalidRequest` where
    the file cannot be written.
    """
    from matplotlib.figure import Figure  # half a second, which only a picture is worth

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot((0, 1), (0, 1), color="0.6", linestyle="--", linewidth=1, label="score = share of right ones")
    means = [held.mean for held in bench.bins]
    shares = [held.share for held in bench.bins]
    spans = [wilson(held.right, held.count) for held in bench.bins]
    reach = [[max(0.0, share - low) for share, (low, _) in zip(shares, spans, strict=True)]]
    reach.append([max(0.0, high - share) for share, (_, high) in zip(shares, spans, strict=True)])
    above.errorbar(means, shares, yerr=reach, fmt="o-", markersize=4, linewidth=1.2, capsize=2, label="measured, 95 %")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel=f"share of right {_what(bench)}")
    above.set_title(f"{bench.judge}\n{_summary(bench)}", fontsize=10, parse_math=False)
    above.legend(loc="upper left", fontsize=8, frameon=False)
    width = 1 / BINS
    below.bar([held.low for held in bench.bins], [held.count for held in bench.bins], width, align="edge", alpha=0.8)
    below.set(xlabel="score", ylabel=_what(bench))
    try:
        figure.savefig(file, format="png")
    except OSError as error:
        raise InvalidRequest(f"The picture cannot be written to {file}: {error.strerror}.", param="plot") from error


def _what(bench: Bench) -> str:
    return "answers" if bench.reads == "answer" else "steps"


def _summary(bench: Bench) -> str:
    error = bench.calibration_error
    parts = [f"{bench.scored:,} {_what(bench)}"]
    if error is not None:
        parts.append(f"ECE {error:.3f}")
    if bench.area is not None:
        parts.append(f"AUC {bench.area:.3f}")
    return ", ".join(parts)
