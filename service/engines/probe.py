"""What an engine can do for a search, found out by asking it for real."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from reward_models.protocol import NextToken, Token
from service.engines.abort import new_request_id
from service.engines.completion import CompletionReader
from service.engines.failures import DOCTOR, unusable
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.reward import VllmScorer
from service.engines.stream import EngineStream
from service.engines.tokenizer import EngineTokenizer
from service.errors import MullError
from service.search.ports import Bill, Chunk, Sampling
from service.settings import PolicySettings, RewardSettings

QUESTION = "Al has 12 pens. Bo has 5 more pens than Al. How many pens does Bo have?"
STEP = "Bo has 12 + 5 = 17 pens."
CACHED_PROMPT = 288  # longer than two of vLLM's default blocks of 128 tokens
ABORT_WAIT_S = 1.0
UNCACHED = "Start vLLM with --enable-prompt-tokens-details --enable-prefix-caching --block-size 32."
UNCOUNTED = "Start vLLM with --enable-scale-out; usage of what is cancelled is estimated without."
_RUNNING = re.compile(r"^vllm:num_requests_running(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried: `detail` says what was seen or, where it is not `ok`, what to do about it.

    Without what is `needed` a search fails; without the rest it is dearer, or its figures are incomplete.
    """

    name: str
    ok: bool
    needed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Probe:
    name: str
    needed: bool
    remedy: str
    run: Callable[[], Awaitable[str]]


async def probe_policy(settings: PolicySettings, engine: Fleet) -> list[Finding]:
    """Try everything that a search asks of a policy. Stops where something needed is missing."""
    policy = VllmPolicy(settings, engine)
    return await _all(
        _Probe("model", True, "Start vLLM, or correct url and served_name.", lambda: _context(engine)),
        _Probe("chat template", True, "Give vLLM --chat-template, or set prompt.template_file.", lambda: _chat(policy)),
        _Probe(
            "token ids",
            True,
            "Use vLLM 0.10.2 or newer; a CPU server that dies here needs --no-enable-chunked-prefill.",
            lambda: _token_ids(policy),
        ),
        _Probe(
            "cached-token counts",
            False,
            UNCACHED,
            lambda: _policy_cache(policy),
        ),
        _Probe(
            "abort on disconnect",
            True,
            "Candidates that are given up go on costing time: is there a proxy that hides the disconnect?",
            lambda: _disconnect(engine, policy),
        ),
        _Probe("abort", False, UNCOUNTED, lambda: _abort(engine, policy.context)),
        _Probe(
            "repeatable seed",
            False,
            "Searches will not be repeatable; VLLM_BATCH_INVARIANT=1 makes a GPU server so, at some cost.",
            lambda: _seed(policy),
        ),
    )


async def probe_reward(settings: RewardSettings, engine: Fleet) -> list[Finding]:
    """Try everything that a search asks of a reward model of its family. Stops where something needed is missing."""
    scorer = VllmScorer(settings, engine)
    tokens = settings.family.tokens()
    probes = [_Probe("model", True, "Start vLLM, or correct url and served_name.", lambda: _context(engine))]
    if tokens:
        probes.append(_Probe("tokens", True, "Correct its preset or its family.", lambda: _tokens(scorer, tokens)))
    probes.append(
        _Probe(
            "scores",
            True,
            "Start vLLM 0.32 or newer with the flags of its preset; on a CPU with TORCHDYNAMO_DISABLE=1.",
            lambda: _score(scorer),
        )
    )
    # Only a completion tells what was cached, and can be aborted by name.
    if isinstance(settings.family.requests(QUESTION, [STEP], 0)[0], NextToken):
        probes.append(_Probe("cached-token counts", False, UNCACHED, lambda: _reward_cache(scorer)))
        probes.append(_Probe("abort", False, UNCOUNTED, lambda: _abort(engine, scorer.context)))
    return await _all(*probes)


async def _all(*probes: _Probe) -> list[Finding]:
    findings = []
    for probe in probes:
        try:
            findings.append(Finding(probe.name, True, probe.needed, await probe.run()))
        except MullError as error:
            advice = probe.remedy if error.hint in ("", DOCTOR) else error.hint
            findings.append(Finding(probe.name, False, probe.needed, f"{error.message} {advice}"))
            if probe.needed:
                break
    return findings


async def _context(engine: Fleet) -> str:
    return f"{engine.model}, {await engine.context_length()} tokens of context"


async def _chat(policy: VllmPolicy) -> str:
    return f"{len(await _prompt(policy))} tokens for a question of {len(QUESTION.split())} words"


async def _token_ids(policy: VllmPolicy) -> str:
    prompt = await _prompt(policy)
    chunks, bill = await _sample(policy, prompt, 4)
    if bill.prompt != len(prompt):
        raise unusable("policy", f"counted {bill.prompt} tokens where {len(prompt)} were sent")
    return f"{len(prompt)} in, {sum(len(chunk.token_ids) for chunk in chunks)} out"


async def _policy_cache(policy: VllmPolicy) -> str:
    prompt = await _long_prompt(policy)
    bill = [(await _sample(policy, prompt, 1))[1] for _ in range(2)][-1]
    return _cached("policy", bill.cached, len(prompt))


@asynccontextmanager
async def _endless(engine: Fleet, prompt: tuple[int, ...], room: int) -> AsyncIterator[tuple[EngineStream, str]]:
    """A stream that goes on until it is stopped, or `room` tokens are written; its first event has been read."""
    body = {
        "prompt": prompt,
        "max_tokens": room,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    request_id = new_request_id()
    answer = engine.stream("/v1/completions", body, request_id=request_id)
    try:
        await answer.event()
        yield answer, request_id
    finally:
        await answer.aclose()


async def _disconnect(engine: Fleet, policy: VllmPolicy) -> str:
    """Leave a stream at its first event, and watch the engine's number of running requests."""
    prompt = await _prompt(policy)
    before = await _running(engine)
    async with _endless(engine, prompt, policy.context - len(prompt)):
        pass
    clock = asyncio.get_running_loop().time
    left = clock()
    while (running := await _running(engine)) > before:
        if clock() - left > ABORT_WAIT_S:
            raise unusable(engine.title, f"still runs {running:g} requests {ABORT_WAIT_S:g} s after one was left")
        await asyncio.sleep(0.05)
    return f"{running:g} running {clock() - left:.2f} s after a stream was left"


async def _abort(engine: Fleet, context: int) -> str:
    """Abort a stream by name at its first event, and see whether the engine then tells what it has cost."""
    prompt = await EngineTokenizer(engine, size=1).text(QUESTION)
    room = context - len(prompt)
    bill = Bill()
    reader = CompletionReader(engine.title, prompt=len(prompt), logprobs=None, bill=bill)
    async with _endless(engine, prompt, room) as (answer, request_id):
        await engine.give_up(request_id, lambda: reader.read_on(answer))
    if not bill.exact:
        raise unusable(engine.title, "does not tell what an aborted request has cost")
    if bill.generated == room:
        raise unusable(engine.title, f"wrote all {room} tokens before the abort: try a longer context")
    return f"{bill.prompt} tokens in and {bill.generated} out are counted"


async def _seed(policy: VllmPolicy) -> str:
    prompt = await _prompt(policy)
    texts = [(await _sample(policy, prompt, 16))[0] for _ in range(2)]
    first, second = [[i for chunk in chunks for i in chunk.token_ids] for chunks in texts]
    if first != second:
        raise unusable("policy", "gave two texts for one seed")
    return f"{len(first)} tokens, twice the same"


async def _tokens(scorer: VllmScorer, tokens: Mapping[str, Token]) -> str:
    await scorer.open()
    return f"one token each: {', '.join(f'{field} {token!r}' for field, token in tokens.items())}"


async def _score(scorer: VllmScorer) -> str:
    scores = await scorer.score(QUESTION, [STEP], 0, Bill())
    return f"a step scored {scores[0]:.3f}"


async def _reward_cache(scorer: VllmScorer) -> str:
    once = await scorer.price(QUESTION, [STEP], 0)
    twice = await scorer.price(QUESTION, [STEP, STEP], 1)
    room = min(CACHED_PROMPT, scorer.context - 1)
    steps = [STEP] * max(1, 1 + (room - once) // (twice - once))
    bill = Bill()
    for _ in range(2):
        await scorer.score(QUESTION, steps, len(steps) - 1, bill)
    return _cached("reward model", bill.cached, bill.prompt)


def _cached(engine: str, cached: int | None, prompt: int) -> str:
    if cached is None:
        raise unusable(engine, "does not tell how many prompt tokens were cached")
    if cached == 0:
        raise unusable(engine, f"had nothing cached of {prompt} prompt tokens that it had just read")
    return f"{cached} of {prompt} prompt tokens when asked again"


async def _prompt(policy: VllmPolicy) -> tuple[int, ...]:
    return await policy.prompt_ids([{"role": "user", "content": QUESTION}])


async def _long_prompt(policy: VllmPolicy) -> tuple[int, ...]:
    prompt = await _prompt(policy)
    return (prompt * (1 + CACHED_PROMPT // len(prompt)))[: min(CACHED_PROMPT, policy.context - 1)]


async def _sample(policy: VllmPolicy, prompt: tuple[int, ...], max_tokens: int) -> tuple[list[Chunk], Bill]:
    bill = Bill()
    stream = policy.stream(prompt, max_tokens=max_tokens, sampling=Sampling(temperature=1.0), seed=7, bill=bill)
    async with aclosing(stream):
        return [chunk async for chunk in stream], bill


async def _running(engine: Fleet) -> float:
    values = _RUNNING.findall(await engine.text("/metrics"))
    if not values:
        raise unusable(engine.title, "does not tell vllm:num_requests_running at /metrics")
    return sum(float(value) for value in values)
