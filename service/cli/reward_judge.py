"""Who judges in `mull reward`: the running stack's reward model, one at a URL, one of the user's, or the policy."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from reward_models.critique import first_wrong
from reward_models.presets import PRESETS
from service.cli.here import known_model, only_model, reachable
from service.cli.own import own_scorer
from service.cli.serve import engine_at, first_listed
from service.engines.fleet import Fleet
from service.engines.policy_scorer import PolicyScorer
from service.engines.reward import VllmScorer
from service.errors import ConfigError, InvalidRequest
from service.search.ports import Scorer
from service.settings import Engine, RewardSettings, Settings, StepForm
from service.stack.in_force import settings_in_force

OWN_SLOTS = Engine(model="own").slots


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line says: at most one of `reward` (`my.py:Mine`), `reward_url` and `source`."""

    reward: str | None = None
    reward_url: str | None = None
    preset: str | None = None
    api_key_env: str | None = None
    source: str | None = None
    model: str | None = None
    math_only: bool = False

    def check(self) -> None:
        """Raise `InvalidRequest` for options that contradict each other, or would be without effect."""
        chosen = [name for name in ("reward", "reward_url", "source") if getattr(self, name) is not None]
        if len(chosen) > 1:
            options = " and ".join(_option(name) for name in chosen)
            raise InvalidRequest(f"{options} each name who is to judge.", hint="Leave all but one of them out.")
        for name in ("preset", "api_key_env"):
            if getattr(self, name) is not None and self.reward_url is None:
                raise InvalidRequest(f"{_option(name)} is about the server of --reward-url, which is not given.")
        if self.math_only and (self.reward is not None or self.source is not None):
            raise InvalidRequest("--math-only is for reward models behind an engine.", hint="Leave it out.")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Judge:
    """Who judges, ready to be asked; `slots` is how many requests it takes at once.

    `names` tells the first wrong step from the scores, for a judge that says so itself; the others need a threshold.
    `are_probabilities`: a score is meant as the probability that all is right so far.
    """

    name: str
    scorer: Scorer
    slots: int
    names: Callable[[Sequence[float]], int] | None = None
    are_probabilities: bool = True


@asynccontextmanager
async def opened(choice: Choice) -> AsyncIterator[Judge]:
    """Open who is to judge, and close it again. Raises `MullError` where there is no such thing."""
    choice.check()
    if choice.reward is not None:
        yield Judge(choice.reward, own_scorer(choice.reward), OWN_SLOTS)
    elif choice.source is not None:
        settings = settings_in_force()
        model = known_model(settings, choice.model or only_model(settings))
        policy = reachable(settings.policies[model.policy])
        try:
            certainty = PolicyScorer(policy, Fleet(policy), choice.source)
        except ValueError as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise InvalidRequest(f"{policy.name} cannot judge by {choice.source!r}: {why}.", param="source") from None
        try:
            await certainty.open()
            yield Judge(f"{choice.source} of {policy.name}", certainty, policy.capacity, are_probabilities=False)
        finally:
            await certainty.aclose()
    else:
        reward = _reward(choice)
        scorer = VllmScorer(reward, Fleet(reward))
        name = f"{reward.name}, math only" if reward.math_only else reward.name
        try:
            await scorer.open()
            yield Judge(name, scorer, reward.capacity, first_wrong if reward.family.name == "judge" else None)
        finally:
            await scorer.aclose()


def step_form(choice: Choice) -> StepForm:
    """Return how the text of the policy that `--model` names is cut into steps.

    Raises `InvalidRequest` where it is not said which, and the policies differ.
    """
    settings = settings_in_force()
    forms = {settings.policies[model.policy].steps for model in settings.models.values()}
    if choice.model is None and len(forms) == 1:
        return forms.pop()
    return settings.policies[known_model(settings, choice.model or only_model(settings)).policy].steps


def _reward(choice: Choice) -> RewardSettings:
    settings = settings_in_force()
    if choice.reward_url is None:
        reward = _of_the_model(settings, choice.model or only_model(settings))
    elif choice.preset is None:
        reward = engine_at(settings.reward_models, RewardSettings, [choice.reward_url], None, choice.api_key_env)
    elif choice.preset in PRESETS:
        served = first_listed(choice.reward_url, choice.api_key_env)
        options = {"preset": choice.preset, "served_name": served, "url": choice.reward_url}
        reward = RewardSettings.model_validate(options | {"api_key_env": choice.api_key_env})
    else:
        raise ConfigError("--preset", [f"there is no {choice.preset!r}; known: {', '.join(PRESETS)}"])
    return reward.model_copy(update={"math_only": True}) if choice.math_only else reward


def _of_the_model(settings: Settings, name: str) -> RewardSettings:
    model = known_model(settings, name)
    if model.reward is None:
        raise InvalidRequest(f"The model {name!r} has no reward model.", hint="Give one: --reward-url or --reward.")
    return reachable(settings.reward_models[model.reward])
