"""One request, from its prompt to its result: what a worker does, and all that it does."""

import asyncio
import time
from collections.abc import Sequence

from service.errors import NoAnswer, QuestionTooLong
from service.search.driver import Driver, Engines, Terms
from service.search.ledger import Account
from service.search.ports import Policy, Sampling
from service.search.request import CandidateResult, SearchRequest, SearchResult, VoteResult
from service.search.usage import Counter
from service.settings import PolicySettings, SamplingDefaults
from strategies.protocol import Candidate, Path, Strategy, Vote


async def solve(
    request: SearchRequest, *, deadline_s: float, settings: PolicySettings, engines: Engines
) -> SearchResult:
    """Search for the answer to `request` for at most `deadline_s` seconds.

    Raises `QuestionTooLong`, `NoAnswer` where nothing had been written when the search had to stop, or `EngineError`.
    """
    begun = time.perf_counter()
    deadline = asyncio.get_running_loop().time() + deadline_s
    try:
        async with asyncio.timeout_at(deadline):
            prompt = await _prompt_ids(request, engines.policy)
    except TimeoutError:
        raise _no_answer("deadline", request) from None
    terms = Terms(
        prompt=prompt,
        question=request.question,
        separator=settings.step_separator,
        sampling=_sampling(request, settings.sampling),
        seed=request.seed,
        max_tokens=_candidate_cap(request, settings.sampling, len(prompt), engines.policy.context),
        parallel=request.budget.parallel,
        deadline=deadline,
    )
    strategy = request.strategy.build(request.score)
    driver = Driver(
        strategy,
        terms,
        engines,
        policy_account=Account(request.budget.policy_tokens),
        reward_account=Account(request.budget.reward_tokens),
    )
    stopped_by = await driver.run()
    return _result(request, strategy, driver, stopped_by, time.perf_counter() - begun)


async def _prompt_ids(request: SearchRequest, policy: Policy) -> tuple[int, ...]:
    if request.prompt is not None:
        return await policy.text_ids(request.prompt)
    return await policy.prompt_ids([message.model_dump() for message in request.messages])


def _candidate_cap(request: SearchRequest, defaults: SamplingDefaults, prompt: int, context: int) -> int:
    room = context - prompt
    asked = request.max_completion_tokens
    if room < 1 or (asked is not None and asked > room):
        raise QuestionTooLong(
            f"The question has {prompt} tokens and a candidate may have {asked or defaults.max_tokens}; "
            f"together they must fit into the policy's context of {context} tokens.",
            hint="Shorten the question or lower max_completion_tokens.",
            param="messages" if room < 1 else "max_completion_tokens",
        )
    return asked or min(defaults.max_tokens, room)


def _sampling(request: SearchRequest, defaults: SamplingDefaults) -> Sampling:
    asked = request.sampling
    return Sampling(
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        top_p=defaults.top_p if asked.top_p is None else asked.top_p,
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        min_p=defaults.min_p if asked.min_p is None else asked.min_p,
        stop=asked.stop,
    )


def _result(
    request: SearchRequest, strategy: Strategy, driver: Driver, stopped_by: str, seconds: float
) -> SearchResult:
    ranking, votes, counter = strategy.ranking(), strategy.votes(), driver.counter
    if driver.unscorable and all(candidate.score is None for candidate in ranking):
        raise next(iter(driver.unscorable.values()))
    chosen = _distinct(ranking, request.n)
    if not chosen:
        raise _no_answer(stopped_by, request)
    return SearchResult(
        choices=tuple(_shown(c, counter) for c in chosen),
        candidates=tuple(_shown(c, counter) for c in ranking),
        votes=tuple(_vote(v) for v in votes),
        confidence=_confidence(chosen[0], votes),
        stopped_by=stopped_by,
        usage=counter.usage({c.node for c in chosen}),
        warnings=_warnings(request.n, len(chosen), len(driver.unscorable)),
        seconds=seconds,
    )


def _warnings(asked: int, found: int, unscorable: int) -> tuple[str, ...]:
    warnings = []
    if found < asked:
        warnings.append(f"n={asked} distinct answers were asked for, the candidates gave {found}.")
    if unscorable:
        warnings.append(f"{unscorable} candidates are too long for the reward model and have no score.")
    return tuple(warnings)


def _distinct(ranking: Sequence[Candidate], n: int) -> list[Candidate]:
    """Return the first `n` candidates that say something different: by answer, or by text where there is none."""
    seen: dict[str | Path, Candidate] = {}
    for candidate in ranking:
        seen.setdefault(candidate.answer.key if candidate.answer else candidate.node, candidate)
    return list(seen.values())[:n]


def _confidence(chosen: Candidate, votes: Sequence[Vote]) -> float | None:
    if chosen.answer is None:
        return None
    return next((vote.share for vote in votes if vote.answer.key == chosen.answer.key), None)


def _shown(candidate: Candidate, counter: Counter) -> CandidateResult:
    return CandidateResult(
        text=candidate.text,
        answer=candidate.answer.text if candidate.answer else None,
        key=candidate.answer.key if candidate.answer else None,
        scores=candidate.scores,
        score=candidate.score,
        finished=candidate.finished,
        finish_reason="stop" if candidate.finished else "length",
        tokens=counter.generated[candidate.node],
    )


def _vote(vote: Vote) -> VoteResult:
    return VoteResult(
        answer=vote.answer.text,
        key=vote.answer.key,
        weight=vote.weight,
        share=vote.share,
        candidates=vote.candidates,
    )


def _no_answer(stopped_by: str, request: SearchRequest) -> NoAnswer:
    budget = request.budget.model_dump(exclude_none=True)
    return NoAnswer(
        f"The search was stopped by {stopped_by} before a candidate had finished its first step.",
        hint=f"Raise the budget (asked for: {budget or 'the default deadline'}).",
        param="mull.budget",
    )
