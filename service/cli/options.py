"""The options that several commands share."""

from typing import Annotated, Literal

import typer

from service.settings_file import load_settings
from strategies.selection import Selection, StepAggregate

Strategy = Annotated[str, typer.Option("--strategy", help="How to search: greedy, sample, majority_vote or best_of_n.")]
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
    typer.Option("--score-by", help="best_of_n: reward_model (default), mean_logprob, or self_certainty@20."),
]
Select = Annotated[
    Selection | None, typer.Option("--select", help="best_of_n: how to choose (default: weighted_vote).")
]
Steps = Annotated[
    StepAggregate | None, typer.Option("--steps", help="best_of_n: from step scores to one (default: min).")
]
Parallel = Annotated[int | None, typer.Option("--parallel", min=1, help="Most candidates of one search in flight.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Another seed is another search.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Most tokens of each candidate.")]
Deadline = Annotated[
    float | None, typer.Option("--deadline", min=0.001, help="Seconds until the best answer so far is taken.")
]
Url = Annotated[str | None, typer.Option("--url", help="The gateway's address (default: as mull.yaml says).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def gateway_url(asked: str | None) -> str:
    """Return `asked`, or where the configured gateway listens. Raises `ConfigError` as `load_settings` does."""
    return asked if asked is not None else load_settings().gateway.url
