"""The names that clients may ask for, and what each of them buys."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from service.search.request import Budget
from service.strict import Strict
from strategies.registry import StrategySpec
from strategies.spec import ScoreSpec

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high"]


def named(strategy: Any) -> Any:
    """Write a bare name as an object."""
    return {"name": strategy} if isinstance(strategy, str) else strategy


NamedStrategy = Annotated[StrategySpec, BeforeValidator(named)]
"""A strategy's name, or an object with its name and parameters."""


class Effort(Strict):
    """One way to search: any strategy with its parameters, how it scores, and the most that it may spend."""

    strategy: NamedStrategy
    score: ScoreSpec | None = Field(None, description="Default: the strategy's own.")
    budget: Budget = Field(Budget(), description="Limits; a request may only lower them.")


def _effort(**strategy: Any) -> Effort:
    return Effort.model_validate({"strategy": strategy})


DEFAULT_EFFORTS: Mapping[ReasoningEffort, Effort] = {
    "none": _effort(name="greedy"),
    "minimal": _effort(name="sample"),
    "low": _effort(name="best_of_n", samples=4),
    "medium": _effort(name="best_of_n", samples=16),
    "high": _effort(name="best_of_n", samples=64),
}


class Alias(Strict):
    """Another name of a model, which fixes how it is searched: one of its efforts, or a strategy of its own."""

    effort: ReasoningEffort | None = None
    strategy: NamedStrategy | None = None
    score: ScoreSpec | None = None
    budget: Budget = Field(Budget(), description="Limits beside those of the effort; a request may only lower them.")

    @model_validator(mode="after")
    def _one_way(self) -> "Alias":
        if (self.effort is None) == (self.strategy is None):
            raise ValueError("an alias names either an effort or a strategy")
        if self.score is not None and self.strategy is None:
            raise ValueError("score belongs to strategy; an effort has its own")
        return self


class PublicModel(Strict):
    """A name clients may ask for: a policy, and the reward model that judges it, if any.

    `judge: same` has the policy write critiques of its own solutions: a reward model of the family `judge` that shares
    its engine.
    """

    policy: str
    reward: str | None = None
    judge: Literal["same"] | None = None
    effort: Literal["search", "forward"] = Field(
        "search",
        description="What `reasoning_effort` means. search: one of `efforts`. forward: the policy's chat template is "
        "given it, and the search is the default one.",
    )
    default_effort: ReasoningEffort | None = Field(None, description="For requests that say nothing; default: sample.")
    efforts: dict[ReasoningEffort, Effort] = Field(dict(DEFAULT_EFFORTS), description="What each effort buys.")
    aliases: dict[str, Alias] = Field({}, description="More names of this model, each with its own way to search.")

    @model_validator(mode="after")
    def _efforts_exist(self) -> "PublicModel":
        wanted = {"default_effort": self.default_effort}
        wanted |= {f"aliases.{name}.effort": alias.effort for name, alias in self.aliases.items()}
        for place, effort in wanted.items():
            if effort is not None and effort not in self.efforts:
                raise ValueError(f"{place} is {effort!r}: not in efforts {sorted(self.efforts)}")
        return self

    def fixed(self, alias: str) -> Effort:
        """Return the way to search that the alias of that name stands for. Raises `KeyError`."""
        meant = self.aliases[alias]
        if meant.strategy is not None:
            return Effort(strategy=meant.strategy, score=meant.score, budget=meant.budget)
        effort = self.efforts[meant.effort or "none"]
        return effort.model_copy(update={"budget": lower(effort.budget, meant.budget)})


def lower(one: Budget, other: Budget) -> Budget:
    """Return the lower of two budgets, limit by limit."""
    limits = {name: [getattr(one, name), getattr(other, name)] for name in Budget.model_fields}
    given = {name: [limit for limit in both if limit is not None] for name, both in limits.items()}
    return Budget(**{name: min(both) for name, both in given.items() if both})
