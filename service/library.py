r"""Mull as a library: one question answered by a search in this very process, with neither Ray nor Redis.

    result = await solve(
        "What is 3 + 4 * 5?",
        policy="http://127.0.0.1:8000",  # a vLLM server
        reward="http://127.0.0.1:8001",  # another, with a process reward model
        strategy={"name": "best_of_n", "samples": 16},
        budget={"policy_tokens": 20_000, "deadline_ms": 30_000},
    )
    print(result.choices[0].answer, result.confidence, result.usage)

Any object can stand in for an engine: the scripted ones need none, and are what tests of a strategy of one's own want.

>>> import asyncio
>>> from service.library import BoxedReader, ScriptedPolicy, solve
>>> policy = ScriptedPolicy([r"4 * 5 = 20, 20 + 3 = \boxed{23}", r"7 * 5 = \boxed{35}", r"\boxed{23}"])
>>> search = solve("3 + 4 * 5?", policy=policy, strategy={"name": "majority_vote", "samples": 3}, reader=BoxedReader())
>>> asyncio.run(search).choices[0].answer
'23'
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from reward_models.protocol import Reads
from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.reward import VllmScorer
from service.errors import InvalidRequest, MullError
from service.search.answer_readers import AnswerReaders
from service.search.answer_spec import AnswerSpec
from service.search.answer_spec import named as named_kind
from service.search.answers import MathAnswers
from service.search.check import check_constraint, check_sampling, check_strategy
from service.search.constraint import Constraint, usual_kind
from service.search.driver import Engines
from service.search.past import NOTHING, past_of
from service.search.ports import AnswerReader, Bill, Policy, Scorer
from service.search.request import Budget, Message, SamplingSpec, SearchRequest, SearchResult
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.search import search
from service.search.slots import Slots
from service.search.trace import Record, from_lines, to_json
from service.settings import Engine, Limits, PolicySettings, RewardSettings, StepForm
from strategies.registry import STRATEGIES, StrategySpec
from strategies.spec import ScoreSpec, Spec

__all__ = [
    "AnswerReader",
    "AnswerSpec",
    "Bill",
    "BoxedReader",
    "Budget",
    "Constraint",
    "MathAnswers",
    "Message",
    "MullError",
    "Policy",
    "PolicySettings",
    "RewardSettings",
    "SamplingSpec",
    "ScoreSpec",
    "Scorer",
    "ScriptedPolicy",
    "ScriptedScorer",
    "SearchResult",
    "Spec",
    "StepForm",
    "read_trace",
    "solve",
]

Model = TypeVar("Model", bound=BaseModel)
AnyEngine = TypeVar("AnyEngine", bound=Engine)
Question = str | Sequence[Message | Mapping[str, str]]
Trace = Sequence[Record] | Sequence[Mapping[str, Any]]

_registered: TypeAdapter[StrategySpec] = TypeAdapter(StrategySpec)


async def solve(
    question: Question,
    *,
    policy: str | PolicySettings | Policy,
    reward: str | RewardSettings | Scorer | None = None,
    strategy: str | Mapping[str, Any] | Spec | None = None,
    score: Mapping[str, Any] | ScoreSpec | None = None,
    budget: Mapping[str, Any] | Budget | None = None,
    sampling: Mapping[str, Any] | SamplingSpec | None = None,
    steps: StepForm | None = None,
    max_completion_tokens: int | None = None,
    seed: int = 0,
    n: int = 1,
    answer: str | Mapping[str, Any] | AnswerSpec | None = None,
    constraint: Mapping[str, Any] | Constraint | None = None,
    reader: AnswerReader | None = None,
    trace: bool = False,
    continue_from: str | Path | Trace | None = None,
    model: str | None = None,
) -> SearchResult:
    """Search for the answer to `question`: a text, or a chat that ends with the user's message.

    `policy` and `reward` are the root of a vLLM server without /v1 (then its only model is taken), settings, or objects
    of one's own; `strategy` is a name, a name with parameters, or a `Spec` of one's own. Default: best_of_n where there
    is something to score by, else majority_vote. Without `budget.deadline_ms` a search ends after 120 s. `steps` says
    how the text is cut, where the policy's settings do not. `continue_from` is the trace of an earlier search of the
    same question (`SearchResult.trace`, or a file): only what is new is paid for. `model` is the name that the trace
    goes by; default: the policy's. `answer` says how answers are found and compared, by a kind or a kind with its
    parameters (default: math); `reader` is an object of one's own that does. `constraint` is a form that the policy's
    engine keeps every candidate to: then the default is exact.

    Whatever is opened here is closed again, also on cancellation, which stops the engines' requests. Raises
    `InvalidRequest` for contradictions, `QuestionTooLong`, `NoAnswer` and `EngineError`.
    """
    spec = _strategy(strategy, scored=reward is not None or score is not None)
    asked = None if score is None else _parsed(ScoreSpec, score, "score")
    named = model or (policy if isinstance(policy, str) else "policy")
    drawn, warnings = check_sampling(spec, _parsed(SamplingSpec, sampling or {}, "sampling"))
    limits = _parsed(Budget, budget or {}, "budget")
    kept_to = None if constraint is None else _parsed(Constraint, constraint, "constraint")
    check_constraint(spec, kept_to)
    kind = usual_kind(kept_to if reader is None else None)
    if answer is not None:
        kind = _parsed(AnswerSpec, named_kind(answer), "answer")
    if answer is not None and reader is not None:
        raise InvalidRequest("`answer` and `reader` both read answers.", hint="Leave one out.", param="answer")
    messages = _chat(question)
    async with AsyncExitStack() as opened:
        policy = await _settings(policy, PolicySettings, "policy") if isinstance(policy, str) else policy
        reward = await _settings(reward, RewardSettings, "reward model") if isinstance(reward, str) else reward
        scoring = check_strategy(spec, asked, model=named, reads=_reads(reward), returned=n, answer=kind)
        settings = policy if isinstance(policy, PolicySettings) else PolicySettings(model="policy")
        if steps is not None:
            settings = settings.model_copy(update={"steps": steps})
        wanted = {
            "model": model or settings.name,
            "messages": messages,
            "max_completion_tokens": max_completion_tokens,
            "sampling": drawn,
            "seed": seed,
            "n": n,
            "strategy": spec,
            "score": scoring,
            "answer": kind,
            "constraint": kept_to,
            "budget": limits,
            "trace": trace,
        }
        request = _parsed(SearchRequest, wanted, "solve")
        past = NOTHING if continue_from is None else past_of(_records(continue_from, type(spec)), request)
        result = await search(
            request,
            deadline_s=(limits.deadline_ms or Limits().default_deadline_ms) / 1000,
            settings=settings,
            engines=_engines(policy, reward, kind if reader is None else reader, opened),
            past=past,
        )
    return result.model_copy(update={"warnings": (*warnings, *result.warnings)})


def read_trace(file: str | Path, *, own: type[Spec] | None = None) -> Sequence[Record]:
    """Return the records of a trace file; `own` reads the parameters of a strategy that is not a registered one.

    Raises `InvalidRequest` where the file cannot be read as a trace.
    """
    try:
        with Path(file).open(encoding="utf-8") as lines:
            return _from_lines(list(lines), own)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidRequest(f"{file} cannot be read: {reason}.", param="continue_from") from None


def _engines(
    policy: PolicySettings | Policy,
    reward: RewardSettings | Scorer | None,
    reader: AnswerReader | AnswerSpec,
    opened: AsyncExitStack,
) -> Engines:
    """Open what is given as settings, to be closed with `opened`."""
    policy_slots = reward_slots = Slots(Engine(model="any").slots)
    if isinstance(policy, PolicySettings):
        policy_slots = Slots(policy.capacity)
        policy = VllmPolicy(policy, Fleet(_reachable(policy)))
        opened.push_async_callback(policy.aclose)
    if isinstance(reward, RewardSettings):
        reward_slots = Slots(reward.capacity)
        reward = VllmScorer(reward, Fleet(_reachable(reward)))
        opened.push_async_callback(reward.aclose)
    if isinstance(reader, AnswerSpec):
        readers = AnswerReaders()
        opened.push_async_callback(readers.aclose)
        reader = readers.reader(reader)
    return Engines(policy, policy_slots, reader, reward, reward_slots)


async def _settings(url: str, kind: type[AnyEngine], role: str) -> AnyEngine:
    """Return the settings of the server at `url`, named after the only model that it serves."""
    nameless = _parsed(kind, {"model": url, "url": url}, role.split()[0])
    async with Fleet(nameless) as engine:
        listed = (await engine.get("/v1/models")).get("data")
    names = [str(card["id"]) for card in listed if "id" in card] if isinstance(listed, list) else []
    if len(names) != 1:
        raise InvalidRequest(
            f"The server at {url} serves {len(names)} models: {', '.join(names)}.",
            hint=f"Choose one: {kind.__name__}(model=…, url={url!r}).",
            param=role.split()[0],
        )
    return _parsed(kind, {"model": names[0], "url": url}, role.split()[0])  # a name may be a preset's


def _reads(reward: RewardSettings | Scorer | None) -> Reads | None:
    if reward is None:
        return None
    return reward.family.reads if isinstance(reward, RewardSettings) else reward.reads


def _reachable(engine: AnyEngine) -> AnyEngine:
    if engine.url is None:
        raise InvalidRequest(f"{engine.name} has no url.", hint=f"Give {type(engine).__name__} a url.", param="url")
    return engine


def _strategy(asked: str | Mapping[str, Any] | Spec | None, *, scored: bool) -> Spec:
    if isinstance(asked, Spec):
        return asked
    if asked is None:
        asked = "best_of_n" if scored else "majority_vote"
    try:
        return _registered.validate_python({"name": asked} if isinstance(asked, str) else asked)
    except ValidationError as error:
        raise _invalid(error, "strategy") from None


def _parsed(kind: type[Model], value: Mapping[str, Any] | Model, param: str) -> Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _invalid(error, param) from None


def _invalid(error: ValidationError, param: str) -> InvalidRequest:
    first = error.errors(include_url=False)[0]
    place = ".".join([param, *map(str, first["loc"])])
    return InvalidRequest(f"`{place}` is not valid: {first['msg']}.", param=place)


def _chat(question: Question) -> tuple[Message, ...]:
    turns = [{"role": "user", "content": question}] if isinstance(question, str) else question
    messages = tuple(_parsed(Message, turn, "question") for turn in turns)
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise InvalidRequest("There is no question.", hint="End the chat with the user's question.", param="question")
    return messages


def _records(trace: str | Path | Trace, own: type[Spec]) -> Sequence[Record]:
    if isinstance(trace, str | Path):
        return read_trace(trace, own=own)
    plain = (record if isinstance(record, Mapping) else to_json(record) for record in trace)
    return _from_lines([json.dumps(record) for record in plain], own)


def _from_lines(lines: Sequence[str], own: type[Spec] | None) -> Sequence[Record]:
    name = _strategy_name(lines)
    if name is None or name in STRATEGIES:
        return from_lines(lines)
    if own is None or name != own.model_fields["name"].default:
        raise InvalidRequest(
            f"The trace is of the strategy {name!r}, which is not one of Mull's own.",
            hint="Give its class: --strategy my.py:Mine.",
            param="strategy",
        )
    return from_lines(lines, own)


def _strategy_name(lines: Sequence[str]) -> object:
    """Return the name of the strategy that a trace is of; `None` where its first line does not tell."""
    try:
        return json.loads(lines[0])["request"]["strategy"]["name"]
    except (LookupError, TypeError, ValueError):
        return None
