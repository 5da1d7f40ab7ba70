from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines.http import engine_client
from service.engines.policy import VllmPolicy
from service.errors import EngineError, EngineUnavailable, InvalidRequest, QuestionTooLong
from service.search.ports import Chunk, Sampling
from service.settings import PolicySettings, PromptForm

USER = [{"role": "user", "content": "how many ?"}]
WHOLE: list[Json | bytes] = [delta("It is", [4, 5]), delta(" 17", [6, 1], "stop"), {**usage(9, 4, 8), "choices": []}]


@pytest.fixture
def fake() -> FakeVllm:
    return FakeVllm(name="small")


def policy(fake: FakeVllm, form: PromptForm | None = None) -> VllmPolicy:
    settings = PolicySettings(model="small", url="http://engine", prompt=form or PromptForm())  # type: ignore[arg-type]
    return VllmPolicy(settings, engine_client(settings, fake.transport()))


def streams(fake: FakeVllm, frames: Sequence[Json | bytes], end: Exception | None = None) -> Events:
    events = Events(frames, end=end)
    fake.replies["/v1/completions"] = lambda _: httpx.Response(200, stream=events)
    return events


async def sample(fake: FakeVllm, *, max_tokens: int = 8, sampling: Sampling | None = None) -> list[Chunk]:
    stream = policy(fake).stream((1, 2, 3), max_tokens=max_tokens, sampling=sampling or Sampling(1.0), seed=7)
    return [chunk async for chunk in stream]


async def test_a_stream_is_text_ids_and_at_its_end_the_engines_own_figures(fake: FakeVllm) -> None:
    """The last chunk has the finish reason, prompt tokens and cached tokens; no other has."""
    streams(fake, [*WHOLE, b"[DONE]"])
    assert await sample(fake) == [Chunk("It is", (4, 5)), Chunk(" 17", (6, 1), "stop", 9, 8)]


async def test_an_engine_that_does_not_count_cached_tokens_is_not_said_to_have_none(fake: FakeVllm) -> None:
    """Unknown is `None`, not 0."""
    streams(fake, [delta("x", [4], "length"), {**usage(9, 1, None), "choices": []}])
    assert (await sample(fake))[-1].cached_tokens is None


async def test_text_with_unusual_line_breaks_comes_through(fake: FakeVllm) -> None:
    """U+2028, U+0085 and form feeds end a line for `str.splitlines`, not for an event stream."""
    streams(fake, [delta("a\u2028b\x85c\x0cd", [4], "stop")])
    assert (await sample(fake))[0].text == "a\u2028b\x85c\x0cd"


async def test_an_empty_text_that_ends_properly_is_an_end(fake: FakeVllm) -> None:
    """A policy may stop at once; that is its answer, not a failure."""
    streams(fake, [delta("", [1], "stop")])
    assert await sample(fake) == [Chunk("", (1,), "stop")]


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
    fake: FakeVllm, frames: Sequence[Json | bytes], words: str
) -> None:
    """A part of a text is never passed off as the text."""
    streams(fake, frames)
    with pytest.raises(EngineError, match=words):
        await sample(fake)


async def test_a_connection_lost_in_mid_stream_is_an_engine_that_has_gone(fake: FakeVllm) -> None:
    """What came before the loss is told, then `EngineUnavailable` is raised."""
    streams(fake, WHOLE[:1], end=httpx.RemoteProtocolError("peer closed connection"))
    stream = policy(fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7)
    assert await anext(stream) == Chunk("It is", (4, 5))
    with pytest.raises(EngineUnavailable):
        await anext(stream)


async def test_a_request_that_the_engine_aborts_is_an_engine_that_goes(fake: FakeVllm) -> None:
    """VLLM ends what runs with `abort` when it is told to stop: that is worth a retry elsewhere, or later."""
    streams(fake, [delta("It is", [4], "abort")])
    with pytest.raises(EngineUnavailable, match="aborted"):
        await sample(fake)


async def test_closing_the_generator_lets_go_of_the_connection(fake: FakeVllm) -> None:
    """That is how vLLM learns that a candidate was given up."""
    events = streams(fake, WHOLE)
    stream = policy(fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7)
    await anext(stream)
    assert not events.closed
    await stream.aclose()
    assert events.closed


async def test_the_whole_distribution_is_said(fake: FakeVllm) -> None:
    """What a request leaves out, vLLM would take from the model's generation_config.json."""
    streams(fake, WHOLE)
    await sample(fake, sampling=Sampling(0.5, top_p=0.9, top_k=3, stop=("Q:",)))
    await sample(fake)
    asked, plain = fake.bodies("/v1/completions")
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ["Q:"]}
    assert {key: asked[key] for key in wanted} == wanted
    assert (plain["top_k"], plain["top_p"], plain["seed"], plain["prompt"]) == (0, 1.0, 7, [1, 2, 3])


async def test_more_tokens_than_fit_are_refused_before_the_engine_is_asked(fake: FakeVllm) -> None:
    """VLLM would shorten `max_tokens` without a word."""
    streams(fake, WHOLE)
    assert await sample(fake, max_tokens=509)
    with pytest.raises(QuestionTooLong, match="512"):
        await sample(fake, max_tokens=510)
    assert len(fake.bodies("/v1/completions")) == 1


async def test_a_question_that_fills_the_context_is_too_long() -> None:
    """There must be room for one token at least."""
    fake = FakeVllm(name="small", context=4)
    assert len(await policy(fake).text_ids("a b c")) == 3
    with pytest.raises(QuestionTooLong, match="4 tokens"):
        await policy(fake).text_ids("a b c d")


async def test_a_chat_is_tokenised_by_the_engine_once(fake: FakeVllm) -> None:
    """The engine's own template is used, and what was asked is remembered."""
    asker = policy(fake)
    ids = await asker.prompt_ids(USER)
    assert ids == await asker.prompt_ids(USER)
    assert ids == tuple(fake.ids("[user] how many ?"))
    assert [body["add_generation_prompt"] for body in fake.bodies("/tokenize")] == [True]


async def test_the_configured_system_message_comes_first(fake: FakeVllm) -> None:
    """It is put before a chat that brings none."""
    await policy(fake, PromptForm(system="Think.", template_file=None)).prompt_ids(USER)
    assert fake.bodies("/tokenize")[0]["messages"] == [{"role": "system", "content": "Think."}, *USER]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_chat_keeps_its_own_system_message(fake: FakeVllm, role: str) -> None:
    """OpenAI's `developer` is a `system` message to a chat template."""
    await policy(fake, PromptForm(system="Think.", template_file=None)).prompt_ids(
        [{"role": role, "content": "Be brief."}, *USER]
    )
    assert fake.bodies("/tokenize")[0]["messages"] == [{"role": "system", "content": "Be brief."}, *USER]


async def test_raw_text_gets_the_models_own_special_tokens(fake: FakeVllm) -> None:
    """/v1/completions continues text as vLLM's own does."""
    await policy(fake).text_ids("a b")
    assert fake.bodies("/tokenize")[0]["add_special_tokens"] is True


async def test_a_template_file_replaces_the_engines_template(fake: FakeVllm, tmp_path: Path) -> None:
    """It is rendered here; the engine tokenises the outcome as it is."""
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}\n<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}<assistant>")
    await policy(fake, PromptForm(system=None, template_file=file)).prompt_ids(USER)
    body = fake.bodies("/tokenize")[0]
    assert (body["prompt"], body["add_special_tokens"]) == ("<user> how many ?\n<assistant>", False)


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ bos_token }}", "{{ messages[0]['x'] }}", "{%"])
async def test_a_template_file_that_cannot_render_is_told(fake: FakeVllm, tmp_path: Path, template: str) -> None:
    """A name that only the engine knows is not taken for an empty string."""
    file = tmp_path / "chat.jinja"
    file.write_text(template)
    with pytest.raises(InvalidRequest, match=r"chat\.jinja"):
        await policy(fake, PromptForm(system=None, template_file=file)).prompt_ids(USER)


async def test_a_chat_that_the_engines_template_refuses_is_the_clients_fault(fake: FakeVllm) -> None:
    """Roles that do not alternate, say: status 400, with the template's words."""
    fake.replies["/tokenize"] = lambda _: httpx.Response(400, json={"error": {"message": "roles must alternate"}})
    with pytest.raises(InvalidRequest, match="roles must alternate") as caught:
        await policy(fake).prompt_ids(USER)
    assert caught.value.status == 400


async def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    """The hint lists what the server serves."""
    with pytest.raises(EngineError) as caught:
        await policy(FakeVllm(name="large")).open()
    assert "large" in caught.value.hint


async def test_an_engine_that_does_not_tell_its_context_is_refused(fake: FakeVllm) -> None:
    """Without it nothing can be checked before asking."""
    fake.replies["/v1/models"] = lambda _: httpx.Response(200, json={"data": [{"id": "small"}]})
    with pytest.raises(EngineError, match="context length"):
        await policy(fake).open()


async def test_ready_means_that_a_token_was_generated(fake: FakeVllm) -> None:
    """A server that answers /health has shown nothing yet."""
    streams(fake, [delta("2", [4], "length")])
    await policy(fake).ready()
    streams(fake, [delta("", [], "length")])
    with pytest.raises(EngineError, match="generated 0 tokens"):
        await policy(fake).ready()
