"""A tree as a readable table, one line per node, to be checked by hand and compared as text; and a world as one."""

from collections.abc import Callable, Mapping

from tree_world import World, Written, table

from strategies.protocol import Path
from strategies.selection import StepAggregate
from strategies.tree import Node, TreeSearch


def rendered(
    search: TreeSearch, how: StepAggregate = "min", columns: Mapping[str, Callable[[Node], object]] | None = None
) -> str:
    """Return all nodes of a tree by path: steps, multiplicity, scores, value by `how`, then `columns`, then the end.

    The end is `= answer`, `ended` for a solution without one, `as PATH` for a node that was merged into another one,
    `lost` for what never came or was given up, `unscored`, `open` while something is to come, and nothing for a step
    that can be grown from. Compare with `inspect.cleandoc` of a literal: columns are two spaces apart, no line ends in
    white space. `None` is shown as `-`, a float with three decimals at most.
    """
    told = columns or {}
    rows = [["path", "steps", "x", "scores", "value", *told, "end"]]
    for node in sorted(search.nodes(), key=lambda node: node.path):
        rows.append(
            [
                place(node.path),
                " | ".join(step.strip() for step in node.steps) or "-",
                str(node.multiplicity),
                " ".join(map(_cell, node.scores)) or "-",
                _cell(node.value(how)),
                *(_cell(value(node)) for value in told.values()),
                _end(node),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def scripted(lines: str) -> World:
    """Return the world of a table with one line per place: its path, the step written there, and that step's score.

    A step `text = 7` ends its solution with the answer 7.
    """
    steps: dict[Path, Written] = {}
    for line in lines.strip().splitlines():
        path, *words, score = line.split()
        text = " ".join(words)
        steps[tuple(map(int, path.split(".")))] = Written(text, float(score), text.partition(" = ")[2] or None)
    return table(steps)


def place(path: Path) -> str:
    """Return a path as it is written in the tables: the child index at each level, with dots between them."""
    return ".".join(map(str, path))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{round(value, 3):g}" if isinstance(value, float) else str(value)


def _end(node: Node) -> str:
    if node.twin is not None:
        return f"as {place(node.twin.path)}"
    if node.lost:
        return "lost"
    if node.unscored:
        return "unscored"
    if not node.settled:
        return "open"
    if node.ended is not None:
        return "ended" if node.ended.answer is None else f"= {node.ended.answer.text}"
    return ""
