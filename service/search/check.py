"""What makes no search: contradictions between a strategy, its scores, its sampling and the models that there are."""

from reward_models.protocol import Reads
from service.errors import InvalidRequest
from service.search.answer_spec import MATH, AnswerSpec
from service.search.constraint import Constraint
from service.search.request import SamplingSpec
from strategies.spec import ScoreSpec, Spec

AS_GOOD_AS_GREEDY = 0.01
"""Temperatures below this: vLLM rounds them to 0 or up to this, and samples hardly differ any more."""

MOST_LOGPROBS = 2_000_000
"""Log-probabilities that one search may have a worker keep: all candidates', until it is known whose are shown."""
OF_WHOLE_SOLUTIONS = {
    "stop": "a stop string may begin in one and end in the next",
    "include_stop_str_in_output": "a stop string may begin in one and end in the next",
    "bad_words": "a bad word may begin in one and end in the next",
    "min_tokens": "the engine would count the tokens of each",
    "presence_penalty": "the engine would forget before each what the candidate has",
    "frequency_penalty": "the engine would forget before each what the candidate has",
    "thinking_token_budget": "the engine would count the thinking of each",
}
"""Fields that the engine can only serve within one request, and why."""


def check_strategy(
    strategy: Spec,
    score: ScoreSpec | None,
    *,
    model: str,
    reads: Reads | None,
    returned: int,
    answer: AnswerSpec = MATH,
) -> ScoreSpec:
    """Return how candidates are scored, the default where `score` is `None`.

    `reads` is what the reward model of `model` reads at once, `None` where it has none, `returned` how many distinct
    answers are wanted, and `answer` how they are read. Raises `InvalidRequest` where a search cannot be made of all
    this.
    """
    if score is not None and not strategy.needs_scores:
        raise InvalidRequest(f"{strategy.name} uses no scores.", hint="Leave `mull.score` out.", param="mull.score")
    score = score or ScoreSpec()
    if answer.kind == "none":
        score = _unpooled(strategy, score)
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


def _unpooled(strategy: Spec, score: ScoreSpec) -> ScoreSpec:
    """Return `score` for candidates that each stand for themselves: there is nothing that could be voted on."""
    if strategy.candidates > 1 and not strategy.needs_scores:
        raise InvalidRequest(
            f"{strategy.name} counts votes for equal answers, and the answer kind none has no answers.",
            hint="Use a strategy whose candidates are judged (best_of_n), or another `mull.answer`.",
            param="mull.answer",
        )
    if score.select == "weighted_vote" and "select" in score.model_fields_set:
        raise InvalidRequest(
            "weighted_vote adds up the scores of equal answers, and the answer kind none has no answers.",
            hint='Select "best", or leave select out.',
            param="mull.score.select",
        )
    return score.model_copy(update={"select": "best"})


def check_constraint(strategy: Spec, constraint: Constraint | None) -> None:
    """Raise `InvalidRequest` for a form that is asked of single steps."""
    if constraint is not None and strategy.stepwise:
        raise InvalidRequest(
            f"{strategy.name} samples single steps, and the form of a text cannot be kept from one step to the next.",
            hint="Leave the constraint out, or use a strategy of whole solutions: best_of_n, majority_vote.",
            param=constraint.field,
        )


def check_sampling(strategy: Spec, asked: SamplingSpec) -> tuple[SamplingSpec, tuple[str, ...]]:
    """Return `asked` with what a search needs, and a warning for each change.

    Raises `InvalidRequest` where greedy decoding is asked to sample, and where single steps are asked for what the
    engine looks at or counts within one request.
    """
    asks = [field for field in OF_WHOLE_SOLUTIONS if getattr(asked, field)]
    if asks and strategy.stepwise:
        raise InvalidRequest(
            f"{strategy.name} samples single steps, and {OF_WHOLE_SOLUTIONS[asks[0]]}.",
            hint=f"Leave {asks[0]} out, or use a strategy of whole solutions: best_of_n, majority_vote.",
            param=asks[0],
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


def check_min_tokens(fewest: int | None, most: int) -> None:
    """Raise `InvalidRequest` where a candidate must have more tokens than it may have."""
    if fewest is not None and fewest > most:
        raise InvalidRequest(
            f"min_tokens is {fewest}, and a candidate may have {most} tokens.",
            hint="Lower min_tokens or raise max_completion_tokens.",
            param="min_tokens",
        )


def check_logprobs(strategy: Spec, score: ScoreSpec, wanted: int | None, max_tokens: int) -> None:
    """Raise `InvalidRequest` where the log-probabilities of so many candidates are more than a worker keeps.

    They are told by the tokens' texts, and self-certainty needs to tell tokens of equal text apart.
    """
    if wanted is None:
        return
    if strategy.needs_scores and score.logprobs:
        raise InvalidRequest(
            f"{score.source} reads the log-probabilities itself, and they cannot be shown beside that.",
            hint="Leave logprobs out, or choose another mull.score.source.",
            param="logprobs",
        )
    kept = strategy.candidates * max_tokens * (wanted + 1)
    if kept > MOST_LOGPROBS:
        raise InvalidRequest(
            f"{strategy.candidates} candidates of up to {max_tokens} tokens, each with {wanted + 1} log-probabilities, "
            f"make {kept} of them; {MOST_LOGPROBS} are kept for one search.",
            hint="Lower top_logprobs, max_completion_tokens or the number of candidates.",
            param="logprobs",
        )
