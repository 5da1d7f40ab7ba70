"""Best-of-N: sample N solutions, score them with a process reward model or by the policy's certainty, select by score.

`best` takes the highest score (Cobbe et al. 2021, arXiv:2110.14168); `weighted_vote` sums the scores per answer
(Li et al. 2022, arXiv:2206.02336; "best-of-N weighted" in Snell et al. 2024, arXiv:2408.03314).
"""

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from strategies.early_stop import Rule, ScoreRace, VoteRace, available
from strategies.flat import Flat
from strategies.progress import Scoring
from strategies.protocol import Strategy
from strategies.selection import by_score, by_weighted_vote
from strategies.spec import ONE_RETURNED, ScoreSpec, Spec, economy_saves


class BestOfN(Spec):
    """argmax over candidates of their score, or over answers of the sum of their candidates' scores."""

    paper: ClassVar[str | None] = "Cobbe et al. 2021, arXiv:2110.14168"
    name: Literal["best_of_n"] = "best_of_n"
    samples: int = Field(16, ge=1, le=1024, description="Number of candidates, N.")
    early_stop: Literal["exact", "off"] | None = Field(
        None,
        description="exact: cut candidates that cannot change the winner any more; off: none. Default: exact, and off "
        "where n > 1 or scores are not in [0, 1].",
    )
    economy: bool = Field(
        False,
        description="Slower, cheaper. weighted_vote: start only as many candidates as could decide the vote if they "
        "agreed. best: keep four in flight, so that later ones are cut against earlier ones.",
    )

    _saves = field_validator("economy")(economy_saves)

    @property
    def needs_scores(self) -> bool:
        """Every finished step is scored, or every finished candidate."""
        return True

    @property
    def candidates(self) -> int:
        """N."""
        return self.samples

    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine."""
        hindrance = None if returned == 1 else ONE_RETURNED
        if not score.bounded:
            hindrance = f"scores from {score.source} are not in [0, 1], so that nothing bounds those to come"
        best = score.select == "best"
        rule: Rule | None = None
        if available(self.early_stop, economy=self.economy, hindrance=hindrance):
            rule = ScoreRace(self.samples) if best else VoteRace(self.samples)
        scoring: Scoring = score.steps if score.needs_reward_model else "certainty"
        return Flat(
            self.samples, by_score if best else by_weighted_vote, scoring=scoring, rule=rule, economy=self.economy
        )
