from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.errors import EngineError, EngineUnavailable, InvalidRequest, QuestionTooLong
from service.search.ports import Bill, Chunk, Sampling, TokenLogprobs
from service.settings import PolicySettings, PromptForm

USER = [{"role": "user", "content": "how many ?"}]
WHOLE: list[Json | bytes] = [delta("It is", [4, 5]), delta(" 17", [6, 1], "stop"), {**usage(9, 4, 8), "choices": []}]

Asker = Callable[..., VllmPolicy]
Sampler = Callable[..., Awaitable[list[Chunk]]]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="small").running())


@pytest.fixture
def policy(at_end: AsyncExitStack) -> Asker:
    def make(fake: FakeVllm, form: PromptForm | None = None) -> VllmPolicy:
        settings = PolicySettings.model_validate({"model": "small", "url": fake.url, "prompt": form or PromptForm()})
        asker = VllmPolicy(settings, Fleet(settings))
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


def streams(fake: FakeVllm, frames: Sequence[Json | bytes], then: str = "end") -> Events:
    events = Events(frames, then=then)
    fake.replies["/v1/completions"] = lambda _: events
    return events


@pytest.fixture
def sample(fake: FakeVllm, policy: Asker) -> Sampler:
    async def run(*, max_tokens: int = 8, sampling: Sampling | None = None, bill: Bill | None = None) -> list[Chunk]:
        stream = policy(fake).stream(
            (1, 2, 3), max_tokens=max_tokens, sampling=sampling or Sampling(1.0), seed=7, bill=bill or Bill()
        )
        return [chunk async for chunk in stream]

    return run


async def test_a_stream_is_text_and_ids_and_its_bill_the_engines_own_figures(fake: FakeVllm, sample: Sampler) -> None:
    """The last chunk has the finish reason; no other has."""
    streams(fake, [*WHOLE, b"[DONE]"])
    bill = Bill()
    assert await sample(bill=bill) == [Chunk("It is", (4, 5)), Chunk(" 17", (6, 1), "stop")]
    assert bill == Bill(prompt=9, cached=8, generated=4, exact=True)


async def test_the_bill_is_final_when_the_last_chunk_comes(fake: FakeVllm, policy: Asker) -> None:
    """Whoever reads it needs nothing more to happen."""
    streams(fake, WHOLE)
    bill = Bill()
    async for chunk in policy(fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill):
        assert bill.exact is (chunk.finish_reason is not None)


async def test_an_engine_that_does_not_count_cached_tokens_is_not_said_to_have_none(
    fake: FakeVllm, sample: Sampler
) -> None:
    """Unknown is `None`, not 0."""
    streams(fake, [delta("x", [4], "length"), {**usage(9, 1, None), "choices": []}])
    bill = Bill()
    await sample(bill=bill)
    assert bill == Bill(prompt=9, cached=None, generated=1, exact=True)


async def test_an_engine_that_tells_no_usage_has_no_exact_bill(fake: FakeVllm, sample: Sampler) -> None:
    """What was seen is the estimate."""
    streams(fake, WHOLE[:2])
    bill = Bill()
    await sample(bill=bill)
    assert bill == Bill(prompt=3, cached=None, generated=4, exact=False)


async def test_the_usage_wins_over_what_was_seen(fake: FakeVllm, sample: Sampler) -> None:
    """The engine knows what it has generated."""
    streams(fake, [delta("x", [4], "stop"), {**usage(9, 3, 0), "choices": []}])
    bill = Bill()
    await sample(bill=bill)
    assert bill.generated == 3


def logprobs(sampled: Sequence[object], top: Sequence[object]) -> Json:
    return {"token_logprobs": list(sampled), "top_logprobs": list(top)}


async def test_log_probabilities_come_one_entry_per_token(fake: FakeVllm, sample: Sampler) -> None:
    """The most probable first; the sampled token is listed beside them where it is not one of them."""
    top = [{"token_id:4": -0.5, "token_id:9": -1.5}, {"token_id:5": -7.0, "token_id:8": -0.25, "token_id:9": -2.0}]
    streams(fake, [delta("It is", [4, 5], "stop", logprobs([-0.5, -7.0], top))])
    (chunk,) = await sample(sampling=Sampling(1.0, logprobs=2))
    assert chunk.logprobs == (TokenLogprobs(-0.5, (-0.5, -1.5)), TokenLogprobs(-7.0, (-0.25, -2.0)))
    body = fake.bodies("/v1/completions")[0]
    assert (body["logprobs"], body["return_tokens_as_token_ids"]) == (2, True)


async def test_the_sampled_tokens_log_probability_alone_can_be_had(fake: FakeVllm, sample: Sampler) -> None:
    """`logprobs` 0 is not the same as none."""
    streams(fake, [delta("x", [4], "stop", logprobs([-0.5], [{"token_id:4": -0.5}]))])
    (chunk,) = await sample(sampling=Sampling(1.0, logprobs=0))
    assert chunk.logprobs == (TokenLogprobs(-0.5, ()),)
    assert fake.bodies("/v1/completions")[0]["logprobs"] == 0


async def test_log_probabilities_that_nobody_wants_are_not_asked_for(fake: FakeVllm, sample: Sampler) -> None:
    """They cost the engine time."""
    streams(fake, WHOLE)
    await sample()
    assert "logprobs" not in fake.bodies("/v1/completions")[0]


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        logprobs([-0.5], [{"a": -0.5}]),
        logprobs([-0.5, -0.5], [{"a": -0.5}, None]),
        logprobs([-0.5, None], [{"a": -0.5}, {"a": -0.5}]),
        logprobs([-0.5, "x"], [{"a": -0.5}, {"a": -0.5}]),
        logprobs([-0.5, float("nan")], [{"a": -0.5}, {"a": -0.5}]),
        logprobs([-0.5, -0.5], [{"a": -0.5}, {}]),
    ],
)
async def test_a_missing_log_probability_is_an_error_and_no_number(
    fake: FakeVllm, sample: Sampler, given: Json | None
) -> None:
    """0.0 would be certainty."""
    streams(fake, [delta("It is", [4, 5], "stop", given)])
    with pytest.raises(EngineError, match="log-probabilities"):
        await sample(sampling=Sampling(1.0, logprobs=1))


async def test_text_with_unusual_line_breaks_comes_through(fake: FakeVllm, sample: Sampler) -> None:
    """U+2028, U+0085 and form feeds end a line for `str.splitlines`, not for an event stream."""
    streams(fake, [delta("a\u2028b\x85c\x0cd", [4], "stop")])
    assert (await sample())[0].text == "a\u2028b\x85c\x0cd"


async def test_an_empty_text_that_ends_properly_is_an_end(fake: FakeVllm, sample: Sampler) -> None:
    """A policy may stop at once; that is its answer, not a failure."""
    streams(fake, [delta("", [1], "stop")])
    assert await sample() == [Chunk("", (1,), "stop")]


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "before the text was finished"),
        ([delta("It is", [4, 5]), b"[DONE]"], "before the text was finished"),
        ([b"{oops"], "not JSON"),
        ([b"[1]"], "not JSON"),
        ([{"choices": [{"text": "It is"}]}], "without token ids"),
        ([{"choices": [None]}], "without token ids"),
        ([delta("It is", [4], "error")], r"gave up while generating \(error\)"),
        ([{"error": {"message": "EngineCore died", "code": 500}}], "EngineCore died"),
    ],
)
async def test_a_stream_that_is_not_whole_is_an_error(
    fake: FakeVllm, frames: Sequence[Json | bytes], words: str, sample: Sampler
) -> None:
    """A part of a text is never passed off as the text."""
    streams(fake, frames)
    with pytest.raises(EngineError, match=words):
        await sample()


async def test_a_connection_lost_in_mid_stream_is_an_engine_that_has_gone(fake: FakeVllm, policy: Asker) -> None:
    """What came before the loss is told and billed, then `EngineUnavailable` is raised."""
    streams(fake, WHOLE[:1], then="break")
    bill = Bill()
    stream = policy(fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill)
    assert await anext(stream) == Chunk("It is", (4, 5))
    with pytest.raises(EngineUnavailable):
        await anext(stream)
    assert bill == Bill(prompt=1, cached=None, generated=2, exact=False)


async def test_a_request_that_the_engine_aborts_is_an_engine_that_goes(fake: FakeVllm, sample: Sampler) -> None:
    """VLLM ends what runs with `abort` when it is told to stop: that is worth a retry elsewhere, or later."""
    streams(fake, [delta("It is", [4], "abort")])
    with pytest.raises(EngineUnavailable, match="aborted"):
        await sample()


async def test_the_whole_distribution_is_said(fake: FakeVllm, sample: Sampler) -> None:
    """What a request leaves out, vLLM would take from the model's generation_config.json."""
    streams(fake, WHOLE)
    await sample(sampling=Sampling(0.5, top_p=0.9, top_k=3, stop=("Q:",)))
    await sample()
    asked, plain = fake.bodies("/v1/completions")
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ["Q:"]}
    assert {key: asked[key] for key in wanted} == wanted
    assert (plain["top_k"], plain["top_p"], plain["seed"], plain["prompt"]) == (0, 1.0, 7, [1, 2, 3])


async def test_more_tokens_than_fit_are_refused_before_the_engine_is_asked(fake: FakeVllm, sample: Sampler) -> None:
    """VLLM would shorten `max_tokens` without a word."""
    streams(fake, WHOLE)
    assert await sample(max_tokens=509)
    with pytest.raises(QuestionTooLong, match="512"):
        await sample(max_tokens=510)
    assert len(fake.bodies("/v1/completions")) == 1


async def test_a_question_that_fills_the_context_is_too_long(policy: Asker, at_end: AsyncExitStack) -> None:
    """There must be room for one token at least."""
    fake = await at_end.enter_async_context(FakeVllm(name="small", context=4).running())
    assert len(await policy(fake).text_ids("a b c")) == 3
    with pytest.raises(QuestionTooLong, match="4 tokens"):
        await policy(fake).text_ids("a b c d")


async def test_a_chat_is_tokenised_by_the_engine_once(fake: FakeVllm, policy: Asker) -> None:
    """The engine's own template is used, and what was asked is remembered."""
    asker = policy(fake)
    ids = await asker.prompt_ids(USER)
    assert ids == await asker.prompt_ids(USER)
    assert ids == tuple(fake.ids("[user] how many ?"))
    assert [body["add_generation_prompt"] for body in fake.bodies("/tokenize")] == [True]


async def test_the_configured_system_message_comes_first(fake: FakeVllm, policy: Asker) -> None:
    """It is put before a chat that brings none."""
    await policy(fake, PromptForm(system="Think.", template_file=None)).prompt_ids(USER)
    assert fake.bodies("/tokenize")[0]["messages"] == [{"role": "system", "content": "Think."}, *USER]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_chat_keeps_its_own_system_message(fake: FakeVllm, role: str, policy: Asker) -> None:
    """OpenAI's `developer` is a `system` message to a chat template."""
    await policy(fake, PromptForm(system="Think.", template_file=None)).prompt_ids(
        [{"role": role, "content": "Be brief."}, *USER]
    )
    assert fake.bodies("/tokenize")[0]["messages"] == [{"role": "system", "content": "Be brief."}, *USER]


async def test_raw_text_gets_the_models_own_special_tokens(fake: FakeVllm, policy: Asker) -> None:
    """/v1/completions continues text as vLLM's own does."""
    await policy(fake).text_ids("a b")
    assert fake.bodies("/tokenize")[0]["add_special_tokens"] is True


async def test_a_template_file_replaces_the_engines_template(fake: FakeVllm, tmp_path: Path, policy: Asker) -> None:
    """It is rendered here; the engine tokenises the outcome as it is."""
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}\n<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}<assistant>")
    await policy(fake, PromptForm(system=None, template_file=file)).prompt_ids(USER)
    body = fake.bodies("/tokenize")[0]
    assert (body["prompt"], body["add_special_tokens"]) == ("<user> how many ?\n<assistant>", False)


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ bos_token }}", "{{ messages[0]['x'] }}", "{%"])
async def test_a_template_file_that_cannot_render_is_told(
    fake: FakeVllm, tmp_path: Path, template: str, policy: Asker
) -> None:
    """A name that only the engine knows is not taken for an empty string."""
    file = tmp_path / "chat.jinja"
    file.write_text(template)
    with pytest.raises(InvalidRequest, match=r"chat\.jinja"):
        await policy(fake, PromptForm(system=None, template_file=file)).prompt_ids(USER)


async def test_a_chat_that_the_engines_template_refuses_is_the_clients_fault(fake: FakeVllm, policy: Asker) -> None:
    """Roles that do not alternate, say: status 400, with the template's words."""
    fake.replies["/tokenize"] = lambda _: web.json_response({"error": {"message": "roles must alternate"}}, status=400)
    with pytest.raises(InvalidRequest, match="roles must alternate") as caught:
        await policy(fake).prompt_ids(USER)
    assert caught.value.status == 400


async def test_a_wrong_name_is_answered_with_the_right_ones(policy: Asker, at_end: AsyncExitStack) -> None:
    """The hint lists what the server serves."""
    with pytest.raises(EngineError) as caught:
        await policy(await at_end.enter_async_context(FakeVllm(name="large").running())).open()
    assert "large" in caught.value.hint


async def test_an_engine_that_does_not_tell_its_context_is_refused(fake: FakeVllm, policy: Asker) -> None:
    """Without it nothing can be checked before asking."""
    fake.replies["/v1/models"] = lambda _: web.json_response({"data": [{"id": "small"}]})
    with pytest.raises(EngineError, match="context length"):
        await policy(fake).open()


async def test_ready_means_that_a_token_was_generated(fake: FakeVllm, policy: Asker) -> None:
    """A server that answers /health has shown nothing yet."""
    streams(fake, [delta("2", [4], "length")])
    await policy(fake).ready()
    streams(fake, [delta("", [], "length")])
    with pytest.raises(EngineError, match="generated 0 tokens"):
        await policy(fake).ready()


async def test_steps_that_are_waited_for_are_told_in_small_pieces(fake: FakeVllm, policy: Asker) -> None:
    """Text that nobody scores on the way comes in large ones, which cost less to handle."""
    for eager in (True, False):
        fake.replies["/v1/completions"] = lambda _: Events([delta("x", [4], "stop"), {**usage(9, 1, 0), "choices": []}])
        stream = policy(fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=Bill(), eager=eager)
        assert [chunk.text async for chunk in stream] == ["x"]
    small, large = (body["stream_interval"] for body in fake.bodies("/v1/completions"))
    assert small < large
