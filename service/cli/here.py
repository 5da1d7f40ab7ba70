"""A search in this very process, straight against the engines: for what the gateway has not got."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.cli.client import Wishes
from service.cli.own import built, is_own, own_scorer, own_strategy
from service.errors import InvalidRequest, StackError, UnknownModel
from service.library import read_trace, solve
from service.search.answer_spec import MATH
from service.search.ports import Scorer
from service.search.request import Message, SearchRequest, SearchResult
from service.search.trace import Begun
from service.settings import Engine, PublicModel, RewardSettings, Settings
from service.stack.in_force import settings_in_force
from strategies.best_of_n import BestOfN
from strategies.spec import Spec

AnyEngine = TypeVar("AnyEngine", bound=Engine)


@dataclass(frozen=True, slots=True)
class Here:
    """What to search for in this process. `strategy` and `reward` may name classes in files: `my.py:Mine`.

    What is left out is as it was in the search that is continued; without one, as the gateway has it.
    """

    question: str | None
    strategy: str | None = None
    reward: str | None = None
    model: str | None = None
    continue_from: Path | None = None

    @property
    def is_needed(self) -> bool:
        """Whether the gateway cannot do it."""
        return self.continue_from is not None or self.reward is not None or is_own(self.strategy or "")


async def search_here(here: Here, wishes: Wishes, *, trace: bool) -> SearchResult:
    """Search with the engines of the running stack, or those whose `url` is configured. Raises `MullError`."""
    own = own_strategy(here.strategy) if here.strategy is not None and is_own(here.strategy) else None
    scorer = own_scorer(here.reward) if here.reward is not None else None
    records = read_trace(here.continue_from, own=own) if here.continue_from is not None else None
    settings = settings_in_force()
    if records is not None and isinstance(records[0], Begun):
        base = records[0].request
        model = known_model(settings, here.model or base.model)
    else:
        name = here.model or only_model(settings)
        base, model = SearchRequest(model=name, strategy=BestOfN()), known_model(settings, name)
    strategy, score = _strategy(here, own, wishes, base), _score(wishes, base)
    scored = strategy.needs_scores
    return await solve(
        _messages(here, base),
        policy=reachable(settings.policies[model.policy]),
        reward=_reward(strategy, score, scorer, model, settings),
        strategy=strategy,
        score=score if scored or wishes.score else None,
        answer=wishes.answer or (None if base.answer == MATH else base.answer),
        constraint=base.constraint,
        budget=base.budget.model_dump() | wishes.budget,
        sampling=base.sampling,
        max_completion_tokens=wishes.max_tokens or base.max_completion_tokens,
        seed=base.seed if wishes.seed is None else wishes.seed,
        n=base.n,
        trace=trace,
        continue_from=records,
        model=base.model,
    )


def _strategy(here: Here, own: type[Spec] | None, wishes: Wishes, base: SearchRequest) -> Spec:
    name = here.strategy or base.strategy.name
    if own is not None:
        name = own.model_fields["name"].default
    kept = base.strategy.model_dump() if name == base.strategy.name else {"name": name}
    return built(own, kept | wishes.parameters)


def _score(wishes: Wishes, base: SearchRequest) -> Mapping[str, object]:
    # Another source has other defaults.
    kept = base.score.model_dump() if wishes.source in (None, base.score.source) else {}
    return kept | wishes.score


def _reward(
    strategy: Spec, score: Mapping[str, object], scorer: Scorer | None, model: PublicModel, settings: Settings
) -> RewardSettings | Scorer | None:
    """Return the reward model that is to be asked, if any is."""
    if not strategy.needs_scores or score.get("source", "reward_model") != "reward_model":
        if scorer is not None:
            raise InvalidRequest(f"{strategy.name} would not ask the reward model.", hint="Leave --reward out.")
        return None
    if scorer is not None or model.reward is None:
        return scorer
    return reachable(settings.reward_models[model.reward])


def only_model(settings: Settings) -> str:
    """Return the name of the only model. Raises `InvalidRequest` where there are several."""
    if len(settings.models) != 1:
        hint = f"Choose one with --model: {', '.join(settings.models)}."
        raise InvalidRequest(f"There are {len(settings.models)} models.", hint=hint)
    return next(iter(settings.models))


def known_model(settings: Settings, name: str) -> PublicModel:
    """Return the model that clients know by `name`; a trace of the library's goes by its policy's.

    Raises `UnknownModel`.
    """
    for known, model in settings.models.items():
        if name in (known, settings.policies[model.policy].name):
            return model
    raise UnknownModel(f"There is no model {name!r}.", hint=f"Known: {', '.join(settings.models)}.", param="model")


def reachable(engine: AnyEngine) -> AnyEngine:
    """Return an engine that has a `url`. Raises `StackError` where it has none."""
    if engine.url is None:
        raise StackError(
            f"{engine.name} has no url and does not run here.",
            hint="Start it with `mull up`, or say in mull.yaml where it runs.",
        )
    return engine


def _messages(here: Here, base: SearchRequest) -> tuple[Message, ...]:
    if base.prompt is not None:
        raise InvalidRequest("The trace continues a raw prompt.", hint="Only questions can be gone on with.")
    if here.question is not None:
        return (Message(role="user", content=here.question),)
    return base.messages
