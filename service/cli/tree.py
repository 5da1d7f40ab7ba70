"""The tree of a search in a terminal: one line per node, and the best candidate's way through it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from service.cli.branches import Branch
from service.cli.terminal import score_text
from strategies.protocol import Ended, Path
from strategies.selection import StepAggregate

LINES = 48
"""A tree of more nodes is drawn without those that were not extended, and says so."""
WIDTH = 120
"""Columns that are used at most: on a wider line the eye does not find from a step to its score."""
FATE = 24
"""Columns for what became of a node, at most."""

GUIDES = [("  ", "│ ", "├─", "└─"), ("  ", "┃ ", "┣━", "┗━"), ("  ", "║ ", "╠═", "╚═")]
"""Two columns for each level instead of rich's four, in thin, bold and double lines: solutions have many steps."""
TIMES = "\N{MULTIPLICATION SIGN}"
"""Stands before the number of samples that wrote the same."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What decides how a node is drawn: `way` leads to the best candidate, `brief` leaves out what was not extended."""

    how: StepAggregate
    way: Collection[Path]
    brief: bool
    tokens: int
    fate: int


def show_tree(console: Console, root: Branch, how: StepAggregate, way: Collection[Path], *, whole: bool) -> None:
    """Print the tree below `root`; needs no colour.

    `how` makes one score of several steps' in one node. `way` has the nodes of the best candidate. Unless `whole`, a
    large tree is drawn without what was not extended.
    """
    nodes = [branch for branch in root.walk() if branch is not root]
    tokens = max((len(_tokens(branch)) for branch in nodes), default=0)
    fate = max((len(branch.fate) for branch in nodes), default=0)
    look = _Look(how, way, not whole and len(nodes) > LINES, max(tokens, len("tokens")), min(FATE, max(fate, 3)))
    header = _line(look, Text("question"), Text(""), Text("score"), "tokens", Text("end"), style="dim")
    tree = Tree(header, guide_style="dim")
    tree.TREE_GUIDES = GUIDES
    _grow(tree, root, look)
    console.print(tree, width=min(WIDTH, console.width))
    for remark in _legend(nodes, how):
        console.print(Text(f"  {remark}", style="dim"))


def _grow(tree: Tree, branch: Branch, look: _Look) -> None:
    hidden = []
    for child in branch.children:
        if look.brief and not (child.is_extended or isinstance(child.end, Ended) or child.path in look.way):
            hidden.append(child)
            continue
        below = tree.add(_node(child, look), guide_style="bold green" if child.path in look.way else "dim")
        _grow(below, child, look)
    if hidden:
        tree.add(Text(_left_out(hidden), style="dim"))


def _node(branch: Branch, look: _Look) -> Table:
    chosen = branch.path in look.way
    number = branch.path[-1] if branch.path[-1] >= 0 else "…"  # written to its end, it is no sample and has no number
    index = Text(f"{'▸' if chosen else ' '}{number}")
    if branch.copies > 1:
        index.append(f" {TIMES}{branch.copies}", style="cyan")
    score = branch.score(look.how)
    return _line(
        look,
        index,
        _written(branch),
        Text("") if score is None else score_text(score),
        _tokens(branch),
        Text(branch.fate, style=_fate_style(branch, chosen)),
        style="bold" if chosen else "" if branch.is_extended or isinstance(branch.end, Ended) else "dim",
    )


def _line(look: _Look, index: Text, text: Text, score: Text, tokens: str, fate: Text, *, style: str) -> Table:
    """Return one line whose last columns stand below those of all other lines, however deep it is."""
    line = Table.grid(padding=(0, 1, 0, 0), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_column(no_wrap=True, width=5)
    line.add_column(no_wrap=True, width=look.tokens, justify="right")
    line.add_column(no_wrap=True, overflow="ellipsis", width=look.fate)
    line.add_row(index, text, score, tokens, fate, style=style)
    return line


def _written(branch: Branch) -> Text:
    kind = _kind(branch)
    return Text(branch.text) if kind is None else Text().append(f"{kind}: ", style="cyan").append(branch.text)


def _kind(branch: Branch) -> str | None:
    """Name what was sampled otherwise than step by step, `None` for all else."""
    if branch.is_lookahead:
        return "ahead"
    if branch.sample is not None and branch.sample.temperature == 0.0:
        return "greedy"
    return "rest" if branch.sample is not None and branch.sample.max_steps is None else None


def _tokens(branch: Branch) -> str:
    return f"{branch.tokens:,}" if not branch.before else f"{branch.tokens - branch.before:,}+{branch.before:,}"


def _fate_style(branch: Branch, chosen: bool) -> str:
    if isinstance(branch.end, Ended):
        return "bold green" if chosen else ""
    return "dim" if branch.lost is None else "yellow"


def _left_out(hidden: Sequence[Branch]) -> str:
    """Say how many samples are not drawn, and what became of them."""
    fates = Counter[str]()
    for one in hidden:
        fates[one.fate] += one.copies
    more = f" … {fates.total()} more child{'ren' if fates.total() > 1 else ''}"
    if len(fates) == 1:
        return f"{more}, {hidden[0].fate}"
    return f"{more}: " + ", ".join(f"{number} {fate}" for fate, number in fates.most_common())


def _legend(nodes: Sequence[Branch], how: StepAggregate) -> list[str]:
    remarks = [f"▸ leads to the best candidate; {TIMES}3: three samples wrote the same"]
    if any(len(branch.steps) > 1 for branch in nodes):
        remarks.append(f"of several steps in one line the score is their {how}")
    if any(branch.is_lookahead for branch in nodes):
        remarks.append("ahead: written greedily to see where a step leads, and not gone on with")
    if any(_kind(branch) == "rest" for branch in nodes):
        remarks.append("rest: written to its end at once")
    if any(branch.before for branch in nodes):
        remarks.append("tokens are new + paid before, by the search that was continued")
    return remarks
