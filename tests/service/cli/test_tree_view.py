import io
from collections.abc import Iterable
from inspect import cleandoc
from itertools import chain

from rich.console import Console

from service.cli.branches import branches
from service.cli.tree import LINES, show_tree
from service.search.trace import Record
from strategies.protocol import Path, Sample
from tests.service.cli.tree_trace import node

TIMES = "\N{MULTIPLICATION SIGN}"
LONG = "so " * 40 + "\n\n"


def drawn(*nodes: Iterable[Record], way: set[Path] | None = None, width: int = 80, whole: bool = False) -> str:
    """What a terminal without colour shows, less the blanks at the ends of lines; "x3" is three times."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False)
    show_tree(console, branches(list(chain(*nodes))), "min", way or set(), whole=whole)
    return "\n".join(line.rstrip() for line in out.getvalue().replace(TIMES, "x").rstrip().split("\n"))


def tree(text: str) -> str:
    """The drawing without its legend."""
    return text.partition("\n  ▸ leads")[0]


def test_a_line_per_node_with_all_that_is_known_of_it() -> None:
    """Text, score, tokens and end stand in columns however deep the node is; the best candidate's way is marked."""
    text = drawn(
        node("0", "Ann has 5 .\n\n", scores=(0.9,)),
        node("1", "Bo has 3 .\n\n", scores=(0.2,)),
        node("0.0", "So 8 .\n\n", scores=(0.8,), answer="8"),
        node("0.1", "So 9 .\n\n", scores=(0.3,), answer="9"),
        way={(0,), (0, 0)},
    )
    assert text == cleandoc("""
        question                                               score tokens end
        ├─▸0 Ann has 5 .                                       █0.90      4
        │ ┣━▸0 So 8 .                                          ▇0.80      3 = 8
        │ ┗━ 1 So 9 .                                          ▃0.30      3 = 9
        └─ 1 Bo has 3 .                                        ▂0.20      4 not extended
          ▸ leads to the best candidate; x3: three samples wrote the same
    """)


def test_siblings_that_wrote_the_same_are_one_line() -> None:
    """With their number and all their tokens; white space does not tell them apart, the one that went on stands."""
    text = drawn(
        node("0", "A b .\n\n", scores=(0.5,)),
        node("1", "C d .\n\n", scores=(0.4,)),
        node("2", "A b . \n", scores=(0.5,)),
        node("3", "A b .\n\n", scores=(0.5,)),
        node("3.0", "E f .\n\n", scores=(0.5,), answer="1"),
    )
    assert tree(text) == cleandoc("""
        question                                               score tokens end
        ├─ 1 C d .                                             ▄0.40      3 not extended
        └─ 3 x3 A b .                                          ▅0.50      9
          └─ 0 E f .                                           ▅0.50      3 = 1
    """)


def test_what_ended_otherwise_is_not_the_same() -> None:
    """A step that ends a solution is another one than the same step that can be gone on from."""
    text = drawn(node("0", "A .", scores=(0.5,)), node("1", "A .", scores=(0.5,), answer="1"))
    assert "x2" not in tree(text)


def test_every_end_has_its_word() -> None:
    """Also what has nothing to show: not started, given up, too long to be scored, or open when the search stopped."""
    text = drawn(
        node("0", "A .", end="cancelled"),
        node("1", end="refused"),
        node("2", "B .", end="unscored"),
        node("3", "C .", end="open"),
        node("4", "D .", end="ended", scores=(0.1,)),
        node("5", "E .", scores=(0.1,)),
        node("6", "F .", answer="6", end="cancelled"),
    )
    ends = [
        "2 cancelled",
        "0 no budget",
        "2 no score: too long",
        "2 unfinished",
        "2 no answer",
        "2 not extended",
        "2 = 6, cancelled",
    ]
    assert all(line.endswith(end) for line, end in zip(tree(text).split("\n")[1:], ends, strict=True)), text


def test_what_is_no_single_sampled_step_says_so() -> None:
    """A look ahead does not extend a step; of several steps the score is their aggregate."""
    text = drawn(
        node("0", "A .\n\n", scores=(0.9,)),
        node("0.0", "B .\n\n", "C .\n\n", scores=(0.7, 0.6), sample=Sample((0, 0), 0.0, 2)),
        node("1", "D .\n\n", scores=(0.8,)),
        node("1.0", "E .\n\n", "F .", scores=(0.4, 0.5), answer="5", sample=Sample((1, 0), None, None)),
        node("1.1", "G .", scores=(0.4,), answer="7", sample=Sample((1, 1), 0.0, None)),
    )
    assert text == cleandoc("""
        question                                               score tokens end
        ├─ 0 A .                                               █0.90      2 not extended
        │ └─ 0 ahead: B . / C .                                ▅0.60      4
        └─ 1 D .                                               ▇0.80      2
          ├─ 0 rest: E . / F .                                 ▄0.40      4 = 5
          └─ 1 greedy: G .                                     ▄0.40      2 = 7
          ▸ leads to the best candidate; x3: three samples wrote the same
          of several steps in one line the score is their min
          ahead: written greedily to see where a step leads, and not gone on with
          rest: written to its end at once
    """)


def test_every_line_fits_the_terminal() -> None:
    """Long steps are cut, at any depth, and scores stay whole; model text cannot steer the terminal."""
    deep = [node(".".join("0" * depth), "\x1b[2J" + LONG, scores=(0.5,)) for depth in range(1, 21)]
    lines = tree(drawn(*deep)).split("\n")
    assert len(lines) == 21
    assert max(map(len, lines)) <= 80
    assert all("0.50" in line and "…" in line and "\x1b" not in line for line in lines[1:])


def large(count: int) -> list[Iterable[Record]]:
    """A tree of one extended step, one solution below it, and more children, two of them given up."""
    given_up = [node(f"0.{i}", f"x{i}", end="cancelled") for i in (1, 2)]
    left = [node(f"0.{i}", f"x{i}", scores=(0.5,)) for i in range(3, count - 1)]
    return [
        node("0", "A .", scores=(0.5,)),
        node("0.0", "B .", scores=(0.5,), answer="1"),
        *given_up,
        *left,
    ]


def test_a_large_tree_is_drawn_without_what_was_not_extended() -> None:
    """How much is left out is said, and --all leaves nothing out."""
    text = tree(drawn(*large(LINES + 1)))
    lines = text.split("\n")
    assert len(lines) == 4
    assert lines[-1].endswith(f"… {LINES - 1} more children: {LINES - 3} not extended, 2 cancelled")
    assert len(tree(drawn(*large(LINES + 1), whole=True)).split("\n")) == LINES + 2


def test_a_small_tree_is_drawn_in_full() -> None:
    """Up to `LINES` nodes."""
    assert len(tree(drawn(*large(LINES))).split("\n")) == LINES + 1


def test_the_best_candidates_way_is_drawn_in_any_tree() -> None:
    """Even where its last step could still have been extended."""
    last = LINES
    text = tree(drawn(*large(LINES + 5), way={(0,), (0, last)}))
    assert f"▸{last} x{last}" in text


def test_what_was_paid_before_stands_apart() -> None:
    """Behind a plus, as in the drawing of candidates."""
    text = drawn(node("0", "A b c .", scores=(0.5,), past=True), node("1", "D .", scores=(0.5,)))
    assert "    0+4 not extended" in text
    assert "tokens are new + paid before" in text
