"""What every strategy's parameters have in common, and how candidates are scored."""

import re
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from strategies.cost import Cost, Lengths, cost_of_candidates
from strategies.protocol import Strategy
from strategies.selection import Selection, StepAggregate

ONE_RETURNED = "it is certain of the first answer only, and more than one (n) is asked for"
"""Why there is no early stopping where `returned` is greater than 1."""

_SOURCE = r"^(reward_model|mean_logprob|self_certainty@([1-9]|1[0-9]|20))$"


def _known(source: str) -> str:
    if re.fullmatch(_SOURCE, source) is None:
        raise ValueError(
            f"there is no source of scores {source!r}; known: reward_model, mean_logprob, "
            "self_certainty@k with k from 1 to 20"
        )
    return source


Source = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "pattern": _SOURCE})]


class ScoreSpec(BaseModel):
    """Where scores come from (`source`), how step scores become one (`steps`), how candidates are selected (`select`).

    `mean_logprob` and `self_certainty@k` (`strategies/certainty.py`) score a whole candidate without a reward model:
    `steps` is then `None`, and `select` is `best` where it is not given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: Source = Field(
        "reward_model", description="reward_model, mean_logprob, or self_certainty@k with k from 1 to 20."
    )
    steps: StepAggregate | None = Field("min", description="From step scores to one; only with a reward model.")
    select: Selection = Field("weighted_vote", description="Default: weighted_vote; best without a reward model.")

    @model_validator(mode="before")
    @classmethod
    def _defaults_without_reward_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("source", "reward_model") != "reward_model":
            return {"steps": None, "select": "best"} | data
        return data

    @field_validator("steps")
    @classmethod
    def _fits_source(cls, steps: StepAggregate | None, info: ValidationInfo) -> StepAggregate | None:
        source = info.data.get("source", "reward_model")
        if source == "reward_model" and steps is None:
            raise ValueError("with a reward model it must say how step scores become one")
        if source != "reward_model" and steps is not None:
            raise ValueError(f"{source} scores whole candidates: leave it out")
        return steps

    @field_validator("select")
    @classmethod
    def _can_weigh(cls, select: Selection, info: ValidationInfo) -> Selection:
        if select == "weighted_vote" and info.data.get("source") == "mean_logprob":
            raise ValueError("mean_logprob is negative and cannot weigh votes: select best")
        return select

    @property
    def needs_reward_model(self) -> bool:
        """Whether scores come from a reward model, one per step."""
        return self.source == "reward_model"

    @property
    def logprobs(self) -> int | None:
        """How many of the most probable tokens' log-probabilities the policy must return; `None`: none at all.

        0 asks for the sampled token's own only. This is also the parameter of `Certainty`.
        """
        match self.source.partition("@"):
            case "reward_model", _, _:
                return None
            case _, _, "":
                return 0
            case _, _, top:
                return int(top)

    @property
    def bounded(self) -> bool:
        """Whether all scores lie in [0, 1]."""
        return self.needs_reward_model


class Spec(BaseModel, ABC):
    """A strategy's name and parameters: immutable, bounded, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    paper: ClassVar[str | None] = None
    """Where the strategy comes from: authors, year and arXiv number."""
    stepwise: ClassVar[bool] = False
    """Whether the policy is asked for single steps."""
    prior: ClassVar[bool] = False
    """Whether it wants the mean log-probability of each stream beside the scores (`Ended.certainty`)."""
    name: str

    @property
    @abstractmethod
    def needs_scores(self) -> bool:
        """Whether the search uses scores; `ScoreSpec.source` says whose."""

    @property
    @abstractmethod
    def candidates(self) -> int:
        """How many candidates the search starts at most; of a tree, how wide it is."""

    def cost(self, lengths: Lengths) -> Cost:
        """Return what the search is expected to spend, in tokens, when nothing is cut short."""
        return cost_of_candidates(self.candidates, lengths, scored=self.needs_scores)

    @abstractmethod
    def build(self, score: ScoreSpec, *, returned: int = 1, seed: int = 0) -> Strategy:
        """Return the state machine; `score` is without meaning where `needs_scores` is false.

        `seed` is where all of its randomness comes from, if it has any. `returned` is how many of the ranking's
        distinct answers the caller takes: what is certain about the first is not about the second, so more than one
        switches early stopping off. Raises `ValueError`, with what to change, where the parameters ask for what `score`
        or `returned` rule out.
        """


class TreeSpec(Spec, ABC):
    """What all trees have in common: the policy is asked for single steps, and every step is scored."""

    stepwise: ClassVar[bool] = True

    @property
    def needs_scores(self) -> bool:
        """Every step is scored."""
        return True


def economy_saves(economy: bool, info: ValidationInfo) -> bool:
    """Return `economy`, a field that comes after `early_stop`; raises `ValueError` where nothing could be saved."""
    if economy and info.data.get("early_stop") == "off":
        raise ValueError("it saves by early stopping, which is off: without that it would only be slower")
    return economy
