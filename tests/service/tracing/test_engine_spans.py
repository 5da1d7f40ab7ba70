"""A span for each call to an engine, around engines that follow a script or answer over HTTP."""

import asyncio
from contextlib import aclosing

import pytest
from fake_vllm import FakeVllm
from kept_spans import Spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.errors import EngineUnavailable
from service.search.driver import Engines
from service.search.ports import Bill, Chunk, Policy, Sampling
from service.search.request import Message, SearchRequest
from service.search.scripted import BoxedReader, ScriptedPolicy, ScriptedScorer
from service.search.seeds import place_seed
from service.search.slots import Slots
from service.settings import PolicySettings
from service.tracing.carried import calling
from service.tracing.spans import SearchSpan
from strategies.sample import SampleOne

REQUEST = SearchRequest(model="tiny", messages=(Message(role="user", content="1+1?"),), strategy=SampleOne())
HOT = Sampling(temperature=1.0)
SEED = place_seed(0, (0,), 0)
"""That of the first candidate, which writes the first solution."""


def parent(span: ReadableSpan) -> SpanContext:
    assert span.parent is not None
    return span.parent


@pytest.fixture
def spans() -> Spans:
    """Spans that are kept."""
    return Spans()


@pytest.fixture
def search(spans: Spans) -> SearchSpan:
    """A search that is going on."""
    return spans.tracing.search(REQUEST, 5.0, {})


def traced(search: SearchSpan, policy: Policy, scorer: ScriptedScorer | None = None) -> Engines:
    engines = Engines(policy, Slots(4), BoxedReader(), scorer, Slots(4))
    return search.engines(engines, "p", "r")


async def written(policy: Policy, pieces: int | None = None, max_tokens: int = 9) -> list[Chunk]:
    """Read a stream, or only its first pieces."""
    bill, told = Bill(), []
    async with aclosing(policy.stream((1, 2), max_tokens=max_tokens, sampling=HOT, seed=SEED, bill=bill)) as chunks:
        async for chunk in chunks:
            told.append(chunk)
            if len(told) == pieces:
                break
    return told


async def test_stream_is_a_span_below_its_search(spans: Spans, search: SearchSpan) -> None:
    """It tells what the engine has billed, and why the text ended; the text itself comes through."""
    with search:
        told = await written(traced(search, ScriptedPolicy(["two words"])).policy)
    assert "".join(chunk.text for chunk in told) == "two words"
    span, root = spans.only("policy.stream"), spans.only("search")
    facts = dict(span.attributes or {})
    assert parent(span).span_id == root.context.span_id
    assert facts["mull.engine"] == "p"
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (2, 3)
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    assert "mull.stopped" not in facts


async def test_stream_that_is_closed_has_its_bill(spans: Spans, search: SearchSpan) -> None:
    """A reader that has got its step leaves: that is no error."""
    await written(traced(search, ScriptedPolicy(["two words"])).policy, pieces=1)
    span = spans.only("policy.stream")
    facts = dict(span.attributes or {})
    assert facts["mull.stopped"] == "closed"
    assert facts["gen_ai.usage.output_tokens"] == 1
    assert span.status.status_code is StatusCode.UNSET


async def test_stream_that_is_cancelled_has_its_bill(spans: Spans, search: SearchSpan) -> None:
    """As when its candidate is pruned, or its client has gone."""
    policy = ScriptedPolicy(["two words"], pause=iter([0.0, 60.0]).__next__)
    reading = asyncio.create_task(written(traced(search, policy).policy))
    while not policy.bills or policy.bills[0].generated == 0:  # noqa: ASYNC110  # a script gives no sign
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    facts = dict(spans.only("policy.stream").attributes or {})
    assert facts["mull.stopped"] == "cancelled"
    assert facts["gen_ai.usage.output_tokens"] == 1


async def test_scoring_is_a_span_below_its_search(spans: Spans, search: SearchSpan) -> None:
    """With the steps that were asked for and the tokens that were submitted."""
    scorer = traced(search, ScriptedPolicy([]), ScriptedScorer({"a": 0.5, "b c": 0.25})).scorer
    assert scorer is not None
    with search:
        assert await scorer.score("1+1?", ["a", "b c"], 1, Bill()) == (0.25,)
    span, root = spans.only("reward.score"), spans.only("search")
    facts = dict(span.attributes or {})
    assert parent(span).span_id == root.context.span_id
    assert (facts["mull.engine"], facts["mull.steps"], facts["gen_ai.usage.input_tokens"]) == ("r", 1, 3)


async def test_engines_behave_as_those_behind_them(search: SearchSpan) -> None:
    """What a search asks of them is what it is told."""
    policy, scorer = ScriptedPolicy([], context=77), ScriptedScorer({}, reads="solution")
    engines = traced(search, policy, scorer)
    assert engines.scorer is not None
    assert (engines.policy.context, engines.scorer.reads) == (77, "solution")
    assert await engines.policy.prompt_ids([{"role": "user", "content": "a b"}]) == (0, 1)
    assert await engines.policy.text_ids("a b c") == (0, 1, 2)
    assert await engines.scorer.price("?", ["a b"], 0) == 2
    assert traced(search, policy).scorer is None


async def test_engine_is_sent_where_its_span_is(spans: Spans, search: SearchSpan) -> None:
    """So that its own spans come below ours. The server that was asked is named, its URL's password is not."""
    async with FakeVllm(name="m").running() as fake:
        url = fake.url.replace("http://", "http://user:secret@")
        async with Fleet(PolicySettings(model="m", url=url)) as fleet:
            fake.writes("a b c d")
            policy = traced(search, VllmPolicy(PolicySettings(model="m", url=url), fleet)).policy
            fake.ids("a b c d")
            bill = Bill()
            stream = policy.stream((0, 1), max_tokens=9, sampling=HOT, seed=1, bill=bill)
            async with aclosing(stream) as chunks:
                assert "".join([chunk.text async for chunk in chunks]) == "cd"
    span = spans.only("policy.stream")
    asked = [place for place, (path, _) in enumerate(fake.asked) if path == "/v1/completions"]
    sent = [fake.headers[place]["traceparent"].split("-")[1:3] for place in asked]
    assert sent == [[f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]]
    facts = dict(span.attributes or {})
    assert (facts["server.address"], facts["server.port"]) == ("127.0.0.1", int(fake.url.rsplit(":", 1)[1]))
    assert "secret" not in str(facts)
    assert calling.get() is None


async def test_engine_is_sent_nothing_while_tracing_is_off() -> None:
    """vLLM without tracing of its own would complain of it."""
    async with FakeVllm(name="m").running() as fake, Fleet(PolicySettings(model="m", url=fake.url)) as fleet:
        await VllmPolicy(PolicySettings(model="m", url=fake.url), fleet).open()
    assert all("traceparent" not in headers for headers in fake.headers)


async def test_failure_is_told_by_its_class_alone(spans: Spans, search: SearchSpan) -> None:
    """What an engine says of an error may quote a question."""
    settings = PolicySettings(model="m", url="http://127.0.0.1:9")
    async with Fleet(settings) as fleet:
        policy = traced(search, VllmPolicy(settings, fleet)).policy
        with pytest.raises(EngineUnavailable):
            await written(policy)
    span = spans.only("policy.stream")
    assert dict(span.attributes or {})["error.type"] == "EngineUnavailable"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())
