"""One answer in a terminal: its votes, the best solution step by step, the other candidates, the cost."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from service.cli.outcome import Outcome
from service.cli.terminal import harmless, score_text, share_bar
from service.search.request import CandidateResult
from strategies.early_stop import DECIDED
from strategies.flat import COMPLETED

SHOWN = 16
"""Candidates listed; a longer list is cut, and says so."""


def show(console: Console, outcome: Outcome, *, cache: str | None = None) -> None:
    """Print the whole answer for reading; fits 80 columns and needs no colour.

    `cache` is what the gateway's cache did, `None` where there was no gateway.
    """
    candidates = outcome.candidates or ()
    console.print(headline(outcome))
    if len(outcome.votes) > 1:
        console.print(Text("\nVotes", style="bold"), votes_table(outcome))
    if candidates:
        console.print(Text("\nBest candidate", style="bold"))
        show_solution(console, candidates[0])
    if len(candidates) > 1:
        console.print(Text("\nCandidates, best first", style="bold"), _candidates_table(candidates))
        if len(candidates) > SHOWN:
            console.print(f"  … and {len(candidates) - SHOWN} more: --json shows all")
    show_cost(console, outcome, cache=cache)


def show_cost(console: Console, outcome: Outcome, *, cache: str | None = None) -> None:
    """Print what the answer has cost, and what limits its worth."""
    console.print()
    for line in _cost(outcome, cache):
        console.print(Text(line, style="dim"))
    for warning in outcome.warnings:
        console.print(Text(f"warning: {harmless(warning)}", style="yellow"))


def votes_table(outcome: Outcome) -> Table:
    """Return the answers with their share of the votes, heaviest first."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=24, no_wrap=True, overflow="ellipsis")
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for vote in outcome.votes:
        count = f"{vote.candidates} candidate{'s' if vote.candidates > 1 else ''}"
        row = (f"  {one_line(vote.answer)}", share_bar(vote.share), f"{vote.share:.1%}", count)
        table.add_row(*row, style="bold" if vote.answer == outcome.answer else "")
    return table


def show_solution(console: Console, candidate: CandidateResult) -> None:
    """Print one solution, each step with its score in front where the scores fit the steps."""
    steps = [step.strip() for step in harmless(candidate.text).split("\n\n") if step.strip()]
    if len(steps) != len(candidate.scores):
        if candidate.scores:
            console.print(Padding(_scores(candidate), (0, 0, 0, 2)))
        console.print(Padding(Text("\n".join(steps)), (0, 0, 0, 2)))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=7)
    table.add_column(overflow="fold")
    for step, score in zip(steps, candidate.scores, strict=True):
        table.add_row(Text("  ").append_text(score_text(score)), Text(step))
    console.print(table)


def headline(outcome: Outcome) -> Text:
    """Return the answer in one line, with its share of the votes and why the search stopped."""
    if outcome.answer is None:
        line = Text("No answer was found in what the policy wrote.", style="bold red")
    else:
        line = Text("Answer: ").append(one_line(outcome.answer), style="bold green")
        if len(outcome.votes) > 1 and outcome.confidence is not None:
            line.append(f"   with {outcome.confidence:.1%} of the votes", style="dim")
    if outcome.stopped_by == DECIDED:
        line.append("   (decided early)", style="dim")
    elif outcome.stopped_by != COMPLETED:
        line.append(f"   (stopped by: {outcome.stopped_by})", style="yellow")
    return line


def _candidates_table(candidates: Sequence[CandidateResult]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    repeated = any(c.multiplicity > 1 for c in candidates)
    scored, stepwise = any(c.score is not None for c in candidates), any(c.scores for c in candidates)
    table.add_column("   #", justify="right", no_wrap=True)
    table.add_column("answer", max_width=14, no_wrap=True, overflow="ellipsis")
    table.add_column("tokens", justify="right", no_wrap=True)
    if repeated:
        table.add_column("samples", justify="right", no_wrap=True)
    if scored:
        table.add_column("score", no_wrap=True)
    if stepwise:
        table.add_column("steps")
    for number, candidate in enumerate(candidates[:SHOWN], start=1):
        answer = "(none)" if candidate.answer is None else one_line(candidate.answer)
        end = {"stop": "", "length": ", cut", None: ", stopped"}[candidate.finish_reason]
        tokens = f"{candidate.tokens}{end}"
        row: list[str | Text] = [str(number), answer, tokens]
        if repeated:
            row.append(str(candidate.multiplicity))
        if scored:
            row.append(Text("none") if candidate.score is None else score_text(candidate.score))
        if stepwise:
            row.append(_scores(candidate))
        table.add_row(*row)
    return table


def _scores(candidate: CandidateResult) -> Text:
    return Text(" ").join([score_text(score) for score in candidate.scores])


def _cost(outcome: Outcome, cache: str | None) -> list[str]:
    policy, reward = outcome.usage.policy, outcome.usage.reward
    generated = f"{_about(policy.estimated)}{outcome.usage.policy_tokens:,}"
    lines = [
        f"policy tokens {generated} ({policy.kept:,} kept, {policy.discarded:,} discarded), "
        f"reward tokens {_about(reward.estimated)}{reward.submitted:,}"
    ]
    if reward.remembered:
        lines.append(f"  scores remembered from other searches, at no cost: {reward.remembered:,}")
    if (before := outcome.continued) is not None:
        now = outcome.usage.policy_tokens - before.policy_tokens, reward.submitted - before.reward.submitted
        lines += [
            f"  paid before: policy tokens {before.policy_tokens:,}, reward tokens {before.reward.submitted:,}",
            f"  paid now:    policy tokens {now[0]:,}, reward tokens {now[1]:,}",
        ]
    lines.append(f"{outcome.seconds:.2f} s" + ("" if cache is None else f", cache: {cache}"))
    if cache == "hit":
        lines.append("The answer came from the cache; the tokens are what it once cost.")
    return lines


def _about(estimated: bool) -> str:
    return "about " if estimated else ""


def one_line(answer: str) -> str:
    """Return text of the model's in one line that cannot steer the terminal."""
    return " ".join(harmless(answer).split())
