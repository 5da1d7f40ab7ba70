"""How a form is asked of an engine, and what its refusals become."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.errors import EngineError, EngineUnavailable, InvalidRequest
from service.search.constraint import Constraint
from service.search.ports import Bill, Chunk, Sampling
from service.settings import PolicySettings

REGEX = Constraint(form="regex", text="[0-9]+")


@pytest.fixture
async def fake() -> AsyncIterator[FakeVllm]:
    """An engine."""
    async with FakeVllm(name="tiny").running() as fake:
        yield fake


async def written(fake: FakeVllm, frames: list[Json], constraint: Constraint | None) -> list[Chunk]:
    """Stream what the engine says to one request."""
    fake.replies["/v1/completions"] = lambda _: Events(frames)
    settings = PolicySettings.model_validate({"model": "tiny", "url": fake.url})
    policy = VllmPolicy(settings, Fleet(settings))
    sampling = Sampling(1.0, constraint=constraint)
    try:
        stream = policy.stream((1, 2), max_tokens=8, sampling=sampling, seed=7, bill=Bill())
        async with aclosing(stream):
            return [chunk async for chunk in stream]
    finally:
        await policy.aclose()


@pytest.mark.parametrize(
    ("constraint", "sent"),
    [
        (REGEX, {"regex": "[0-9]+"}),
        (Constraint(form="choice", choices=("a", "b")), {"choice": ["a", "b"]}),
        (Constraint(form="json", text='{"type":"null"}'), {"json": '{"type":"null"}'}),
        (Constraint(form="json_object"), {"json_object": True}),
        (Constraint(form="grammar", text="root"), {"grammar": "root"}),
        (None, None),
    ],
)
async def test_a_form_is_asked_for_in_vllms_words(fake: FakeVllm, constraint: Constraint | None, sent: object) -> None:
    """And nothing where there is none."""
    await written(fake, [delta("12", [4, 5], "stop"), {**usage(2, 2, 0), "choices": []}], constraint)
    assert fake.bodies("/v1/completions")[0].get("structured_outputs") == sent


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ({"error": {"message": "Grammar error: unclosed class", "code": 400}}, "unclosed class"),
        ({"error": {"message": "Internal server error", "code": 500}}, "gave up on a candidate"),
        (delta("1", [4], "error"), "gave up on a candidate"),
    ],
)
async def test_a_form_that_cannot_be_kept_is_the_clients_to_change(fake: FakeVllm, frame: Json, why: str) -> None:
    """Not a failure of the engine, which a client would try again."""
    with pytest.raises(InvalidRequest, match=why) as refused:
        await written(fake, [frame], REGEX)
    assert refused.value.param == "structured_outputs"


@pytest.mark.parametrize(
    ("constraint", "code", "kind"),
    [(REGEX, 503, EngineUnavailable), (None, 500, EngineError), (REGEX, 501, EngineError)],
)
async def test_other_failures_stay_the_engines(
    fake: FakeVllm, constraint: Constraint | None, code: int, kind: type[EngineError]
) -> None:
    """An engine that is full or broken is no reason to change a request."""
    with pytest.raises(kind):
        await written(fake, [{"error": {"message": "no", "code": code}}], constraint)
