"""The options that several commands share."""

import json
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from service.settings_file import load_settings
from strategies.registry import STRATEGIES
from strategies.selection import Selection, StepAggregate

NAMES = ", ".join(STRATEGIES)
Strategy = Annotated[str, typer.Option("--strategy", help=f"How to search: {NAMES}.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other parameter of the strategy, as in --set beams=8; GET /v1/strategies lists them.",
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="The model; needed where there are several.")]
EarlyStop = Annotated[
    Literal["exact", "beta", "off"] | None,
    typer.Option(
        "--early-stop",
        help="exact (default): cut what cannot change the winner; beta (majority_vote): what probably would not.",
    ),
]
Economy = Annotated[
    bool | None, typer.Option("--economy/--no-economy", help="Slower, cheaper: start only what is needed.")
]
ScoreBy = Annotated[
    str | None,
    typer.Option("--score-by", help="reward_model (default); best_of_n: also mean_logprob, or self_certainty@20."),
]
Select = Annotated[
    Selection | None, typer.Option("--select", help="How to choose by the scores (default: weighted_vote).")
]
Steps = Annotated[StepAggregate | None, typer.Option("--steps", help="From the scores of steps to one (default: min).")]
Answer = Annotated[
    str | None,
    typer.Option(
        "--answer",
        metavar="KIND[:PARAMETER]",
        help="What the answer is: math (default), choice or choice:A,B,C, number, regex:PATTERN with one group, exact "
        "(the whole text), none (the judge selects).",
    ),
]
Parallel = Annotated[int | None, typer.Option("--parallel", min=1, help="Most candidates of one search in flight.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed is another search.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Most tokens of each candidate.")]
Deadline = Annotated[
    float | None, typer.Option("--deadline", min=0.001, help="Seconds until the best answer so far is taken.")
]
Url = Annotated[str | None, typer.Option("--url", help="The gateway's address (default: as mull.yaml says).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]

_OWN_OPTIONS = {
    "name": "--strategy",
    "samples": "--samples",
    "early_stop": "--early-stop",
    "economy": "--economy",
}


def settings(given: Sequence[str] | None) -> dict[str, object]:
    """Return the parameters that `--set` gives, by name: numbers, true, false and null as JSON has them, else text.

    Raises `typer.BadParameter` for what is not NAME=VALUE, is given twice, or has an option of its own.
    """
    found: dict[str, object] = {}
    for text in given or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE, as in beams=8", param_hint="--set")
        if name in _OWN_OPTIONS:
            raise typer.BadParameter(f"{name} has an option of its own, {_OWN_OPTIONS[name]}", param_hint="--set")
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--set")
        found[name] = _value(value)
    return found


def answer(given: str | None) -> dict[str, object] | None:
    """Return the kind of answer that `--answer` gives, as the gateway takes it."""
    if given is None:
        return None
    kind, colon, parameter = given.partition(":")
    if not colon:
        return {"kind": kind}
    match kind:
        case "choice":
            return {"kind": kind, "labels": [label.strip() for label in parameter.split(",")]}
        case "regex":
            return {"kind": kind, "pattern": parameter}
        case _:
            raise typer.BadParameter(f"{kind} takes no parameter", param_hint="--answer")


def _value(text: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def gateway_url(asked: str | None) -> str:
    """Return `asked`, or where the configured gateway listens. Raises `ConfigError` as `load_settings` does."""
    return asked if asked is not None else load_settings().gateway.url
