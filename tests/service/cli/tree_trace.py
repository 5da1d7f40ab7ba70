"""Traces of trees, written by hand: what each node wrote, its score, and what became of it."""

from collections.abc import Iterator

from service.search.ports import Bill
from service.search.trace import Grown, Record, Told, Wished
from strategies.protocol import Answer, Cancel, Ended, Path, Paused, Refused, Sample, Scored, Step


def node(
    place: str,
    *steps: str,
    scores: tuple[float, ...] = (),
    answer: str | None = None,
    end: str = "paused",
    sample: Sample | None = None,
    before: str = "",
    past: bool = False,
) -> Iterator[Record]:
    """Tell of the node at `place` ("0.1"), one token per word; with an `answer` it ended.

    `end`: paused, ended, cancelled, refused, unscored or open. `before` is what its ancestors wrote.
    """
    path: Path = tuple(int(part) for part in place.split("."))
    yield Wished(0.0, sample or Sample(path, None, 1))
    for index, step in enumerate(steps):
        yield Told(0.0, Step(path, index, step))
    if scores:
        yield Told(0.0, Scored(path, 0, scores))
    text = "".join(steps)
    if answer is not None or end == "ended":
        found = None if answer is None else Answer(answer, answer)
        yield Told(0.0, Ended(path, "stop", before + text, found))
    elif end == "refused":
        yield Told(0.0, Refused(path, "sample"))
    elif end != "open":
        yield Told(0.0, Paused(path))
    if end == "cancelled":
        yield Wished(0.0, Cancel(path))
    if end == "unscored":
        yield Told(0.0, Refused(path, "score", "length"))
    yield Grown(0.0, path, text, (), None, Bill(generated=len(text.split()), exact=True), past)
