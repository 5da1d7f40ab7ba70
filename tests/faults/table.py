"""The table of outcomes, as Markdown between two marks of a page."""

import datetime
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from soak import Soaked
from traffic import Seen
from trial import Outcome

from benchmarks.running_stack import hardware

BEGIN, END = "<!-- outcomes: begin -->", "<!-- outcomes: end -->"


class Table:
    """Collects outcomes, and writes them down."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        """Take one fault's row."""
        longest = max((one.seconds for one in outcome.direct), default=0.0)
        cells = [outcome.fault, counted(outcome.direct) or "—", f"{longest:.1f}", counted(outcome.jobs) or "—"]
        self._rows[outcome.fault] = f"| {' | '.join(cells)} | {outcome.back_s:.1f} |"

    def soaked(self, soaked: Soaked) -> None:
        """Take the soak's row, and how often each fault came in it."""
        longest = max((one.seconds for one in soaked.direct), default=0.0)
        name = f"soak of {soaked.seconds / 60:.0f} minutes, {soaked.faults.total()} faults"
        cells = [name, counted(soaked.direct), f"{longest:.1f}", counted(soaked.jobs)]
        self._rows[name] = f"| {' | '.join(cells)} | {soaked.longest_outage_s:.1f} |"

    def text(self, command: str) -> str:
        """Return the table, with what it was made by and on."""
        on = hardware()
        day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        head = (
            "| Fault | Requests came to | Longest, s | Jobs came to | Answers again after, s |\n|---|---|---:|---|---:|"
        )
        made = [
            f"Made on {day} by `{command}`",
            f"on a machine with {on['cores']} cores and {on['memory_gib']} GiB ({on['machine']}): {on['model']}.",
        ]
        return "\n".join([*made, "", head, *self._rows.values()])

    def write(self, page: Path, command: str) -> None:
        """Put the table between the marks of `page`; one without marks is written anew."""
        before, after = BEGIN, END
        if page.exists() and BEGIN in (text := page.read_text()) and END in text:
            before = text[: text.index(BEGIN)] + BEGIN
            after = text[text.index(END) :]
        else:
            after += "\n"
        page.write_text(f"{before}\n{self.text(command)}\n{after}")


def counted(seen: Iterable[Seen]) -> str:
    """Return outcomes by how often they were seen: `4 ok, 2 503 EngineUnavailable`."""
    words = Counter(f"{one.status} {one.outcome}" if _is_error(one) else one.outcome for one in seen)
    return ", ".join(f"{number} {word}" for word, number in words.most_common())


def _is_error(one: Seen) -> bool:
    return one.job is None and one.outcome[:1].isupper()
