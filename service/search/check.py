"""What makes no search: contradictions between a strategy, its scores, its sampling and the models that there are."""

from reward_models.protocol import Reads
from service.errors import InvalidRequest
from service.search.request import SamplingSpec
from strategies.spec import ScoreSpec, Spec

AS_GOOD_AS_GREEDY = 0.01
"""Temperatures below this: vLLM rounds them to 0 or up to this, and samples hardly differ any more."""


def check_strategy(
    strategy: Spec, score: ScoreSpec | None, *, model: str, reads: Reads | None, returned: int
) -> ScoreSpec:
    """Return how candidates are scored, the default where `score` is `None`.

    `reads` is what the reward model of `model` reads at once, `None` where it has none, `returned` how many distinct
    answers are wanted. Raises `InvalidRequest` where a search cannot be made of all this.
    """
    if score is not None and not strategy.needs_scores:
        raise InvalidRequest(f"{strategy.name} uses no scores.", hint="Leave `mull.score` out.", param="mull.score")
    score = score or ScoreSpec()
    if strategy.needs_scores and score.needs_reward_model and reads is None:
        raise InvalidRequest(
            f"{strategy.name} needs a reward model, and {model!r} has none.",
            hint="Use majority_vote, judge by the policy's own log-probabilities "
            '(`"score": {"source": "self_certainty@20"}`), or add a reward model.',
            param="mull.strategy",
        )
    if strategy.stepwise and score.needs_reward_model and reads == "answer":
        raise InvalidRequest(
            f"{strategy.name} wants a score after each step, and the reward model of {model!r} scores whole solutions.",
            hint="Use best_of_n, or a process reward model: `mull reward presets` lists some.",
            param="mull.strategy",
        )
    if not 1 <= returned <= strategy.candidates:
        raise InvalidRequest(
            f"n is {returned}, but {strategy.name} has {strategy.candidates} candidate(s) to choose from.",
            hint="Lower n, or ask for more samples in mull.strategy.",
            param="n",
        )
    try:
        strategy.build(score, returned=returned)
    except ValueError as contradiction:
        raise InvalidRequest(str(contradiction), hint="Change one of the two.", param="mull.score") from None
    return score


def check_sampling(strategy: Spec, asked: SamplingSpec) -> tuple[SamplingSpec, tuple[str, ...]]:
    """Return `asked` with what a search needs, and a warning for each change.

    Raises `InvalidRequest` where greedy decoding is asked to sample, and for stop strings where single steps are.
    """
    if asked.stop and strategy.stepwise:
        raise InvalidRequest(
            f"{strategy.name} samples single steps, and a stop string may begin in one and end in the next.",
            hint="Leave stop out (a solution ends where its answer does), or use a strategy of whole solutions.",
            param="stop",
        )
    temperature = asked.temperature
    if strategy.name == "greedy" and temperature:
        raise InvalidRequest(
            f"greedy decodes at temperature 0, not {temperature:g}.",
            hint="Leave temperature out, or use the strategy sample.",
            param="temperature",
        )
    if temperature is None or temperature >= AS_GOOD_AS_GREEDY or strategy.candidates == 1:
        return asked, ()
    warning = (
        f"temperature {temperature:g} would make all {strategy.candidates} candidates the same: "
        "the policy's own was used"
    )
    return asked.model_copy(update={"temperature": None}), (warning,)
