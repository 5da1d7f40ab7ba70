"""One request, from its prompt to its result: what a worker does, and all that it does."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from service.errors import QuestionTooLong
from service.search.driver import Driver, Engines
from service.search.ledger import Account
from service.search.past import NOTHING, Past
from service.search.pooling import CandidatePool, Pooling, certainty_of, resumes
from service.search.ports import Policy, Sampling
from service.search.request import SearchRequest, SearchResult
from service.search.result import no_answer, result_of
from service.search.terms import Terms
from service.search.trace import Begun, Record, to_json
from service.search.watch import Watch
from service.settings import PolicySettings, SamplingDefaults, StepForm
from strategies.certainty import Certainty

_log = logging.getLogger("mull.search")


async def search(
    request: SearchRequest,
    *,
    deadline_s: float,
    settings: PolicySettings,
    engines: Engines,
    past: Past = NOTHING,
    pool: CandidatePool | None = None,
    watch: Watch | None = None,
    hear: Callable[[Record], None] | None = None,
) -> SearchResult:
    """Search for the answer to `request` for at most `deadline_s` seconds, going on from `past` if there is one.

    Candidates that are in `pool` are taken from there, and all are kept there, however the search ends. `watch` is told
    what happens, and `hear` each record of it. Raises `QuestionTooLong`, `NoAnswer` where nothing had been written when
    the search had to stop, or `EngineError`.
    """
    begun = time.perf_counter()
    deadline = asyncio.get_running_loop().time() + deadline_s
    try:
        async with asyncio.timeout_at(deadline):
            prompt = await _begin(request, engines.policy, pool)
    except TimeoutError:
        raise no_answer("deadline", request) from None
    logprobs = certainty_of(request)
    judged = request.strategy.needs_scores and request.score.needs_reward_model
    terms = Terms(
        prompt=prompt,
        question=request.question,
        form=_form(request, settings.steps),
        sampling=_sampling(request, settings.sampling, logprobs),
        seed=request.seed,
        max_tokens=_candidate_cap(request, settings.sampling, len(prompt), engines.policy.context),
        parallel=request.budget.parallel,
        deadline=deadline,
        eager=judged or (watch is not None and watch.interest.text),
        certainty=partial(Certainty, logprobs) if logprobs is not None else None,
        whole=judged and engines.scorer is not None and engines.scorer.reads == "answer",
        exact=request.answer.kind == "exact",
    )
    strategy = request.strategy.build(request.score, returned=request.n, seed=request.seed)
    driver = Driver(
        strategy,
        terms,
        engines,
        policy_account=Account("policy_tokens", request.budget.policy_tokens),
        reward_account=Account("reward_tokens", request.budget.reward_tokens),
        past=past,
        pooling=Pooling(pool, max_tokens=terms.max_tokens, resumes=resumes(request)),
        watch=watch,
        hear=hear,
    )
    try:
        stopped_by = await driver.run()
    except BaseException as error:
        spent = driver.counter.usage(set())
        _log.info("a search ended without an answer (%s), having spent: %s", type(error).__name__, spent)
        raise
    result = result_of(
        request,
        strategy,
        driver.counter,
        stopped_by=stopped_by,
        seconds=time.perf_counter() - begun,
        unscorable=driver.unscorable,
        logprobs=driver.logprobs,
        records=driver.records,
    )
    if not request.trace:
        return result
    records = [Begun(request, len(prompt), terms.max_tokens), *driver.records]
    return result.model_copy(update={"trace": tuple(to_json(record) for record in records)})


async def _begin(request: SearchRequest, policy: Policy, pool: CandidatePool | None) -> tuple[int, ...]:
    """Return the prompt's token ids; the pool is asked for what it has while they are made."""
    if pool is None:
        return await _prompt_ids(request, policy)
    opening = asyncio.create_task(pool.open(request.strategy.candidates))
    try:
        prompt = await _prompt_ids(request, policy)
        await opening
    finally:
        opening.cancel()
    return prompt


async def _prompt_ids(request: SearchRequest, policy: Policy) -> tuple[int, ...]:
    if request.prompt is not None:
        return await policy.text_ids(request.prompt)
    return await policy.prompt_ids([message.model_dump() for message in request.messages], request.chat_template_kwargs)


def _form(request: SearchRequest, form: StepForm) -> StepForm:
    """Return how text becomes steps. A box ends a solution only where it is the answer and the form allows any end."""
    if request.answer.kind == "math" and request.constraint is None:
        return form
    return form.model_copy(update={"end_at_answer": False})


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


def _sampling(request: SearchRequest, defaults: SamplingDefaults, logprobs: int | None) -> Sampling:
    asked = request.sampling
    counts = [count for count in (logprobs, request.logprobs) if count is not None]
    return Sampling(
        temperature=defaults.temperature if asked.temperature is None else asked.temperature,
        top_p=defaults.top_p if asked.top_p is None else asked.top_p,
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        min_p=defaults.min_p if asked.min_p is None else asked.min_p,
        stop=asked.stop,
        logprobs=max(counts) if counts else None,
        texts=request.logprobs is not None,
        extras=asked.extras,
        constraint=request.constraint,
    )
