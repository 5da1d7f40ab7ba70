"""Tokens at which steps end, and streams that are ended there, one step at a time."""

import asyncio
import re
from contextlib import AsyncExitStack, aclosing
from string import ascii_letters, digits, punctuation

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, delta, usage

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.step_stops import StepStops, find_stops
from service.engines.tokenizer import EngineTokenizer
from service.errors import EngineError
from service.search.ports import Bill, Chunk, Sampling
from service.settings import PolicySettings, StepForm

CHARACTERS = ("<unk>", *ascii_letters, *digits, *punctuation, " ", "\t", "\n", "。")
BLANK_LINE = (*CHARACTERS, "\n\n")
MERGED = (*BLANK_LINE, ".\n\n", "\n\n  ")
TEXT = "sum: a\n\nso b.\n\nc"


class WhiteSpaceApart(FakeVllm):
    """Keeps the last white space before a word apart, as GPT-2's tokenizer does."""

    def ids(self, text: str) -> list[int]:
        """Return the token ids of text."""
        return [
            token
            for part in re.findall(r"\s+(?!\S)| ?\S+|\s", text)
            for token in super(WhiteSpaceApart, self).ids(part)
        ]


async def serve(at_end: AsyncExitStack, *vocabulary: str) -> FakeVllm:
    return await at_end.enter_async_context(FakeVllm(name="small", vocabulary=vocabulary).running())


def asks(at_end: AsyncExitStack, fake: FakeVllm, form: StepForm | None = None) -> VllmPolicy:
    settings = PolicySettings.model_validate({"model": "small", "url": fake.url, "steps": form or StepForm()})
    policy = VllmPolicy(settings, Fleet(settings))
    at_end.push_async_callback(policy.aclose)
    return policy


async def found(at_end: AsyncExitStack, fake: FakeVllm, form: StepForm) -> StepStops:
    settings = PolicySettings.model_validate({"model": "small", "url": fake.url})
    client = await at_end.enter_async_context(Fleet(settings))
    return await find_stops(form, EngineTokenizer(client, size=8))


async def step(
    policy: VllmPolicy,
    prompt: tuple[int, ...],
    bill: Bill | None = None,
    stop: tuple[str, ...] = (),
    max_tokens: int = 40,
) -> list[Chunk]:
    sampling = Sampling(1.0, stop=stop)
    stream = policy.stream(
        prompt, max_tokens=max_tokens, sampling=sampling, seed=7, bill=bill or Bill(), stop_at_step=True
    )
    async with aclosing(stream):
        return [chunk async for chunk in stream]


def joined(chunks: list[Chunk]) -> tuple[str, tuple[int, ...], str | None]:
    ids = tuple(token for chunk in chunks for token in chunk.token_ids)
    return "".join(chunk.text for chunk in chunks), ids, chunks[-1].finish_reason


@pytest.mark.parametrize(
    ("vocabulary", "form", "ends", "exact"),
    [
        pytest.param(BLANK_LINE, StepForm(), {"\n\n"}, True, id="one token, never merged"),
        pytest.param(("<unk>", "\n\n"), StepForm(), {"\n\n"}, True, id="nothing else in the vocabulary"),
        pytest.param(
            (*BLANK_LINE, "##"), StepForm(separators=("\n\n", "##")), {"\n\n", "##"}, True, id="two separators"
        ),
        pytest.param(CHARACTERS, StepForm(), set(), False, id="two tokens"),
        pytest.param(("<unk>", "a"), StepForm(), set(), False, id="not in the vocabulary"),
        pytest.param((*BLANK_LINE, ".\n\n"), StepForm(), {"\n\n", ".\n\n"}, False, id="merged with what stands before"),
        pytest.param((*BLANK_LINE, "\n\n  "), StepForm(), {"\n\n", "\n\n  "}, False, id="merged with what follows"),
        pytest.param((*CHARACTERS, ":\n"), StepForm(), set(), False, id="half of it merged"),
        pytest.param(BLANK_LINE, StepForm(separators=("\n", "\n\n")), {"\n\n"}, False, id="the beginning of another"),
        pytest.param(BLANK_LINE, StepForm(headings=("## Step",)), {"\n\n"}, False, id="headings besides"),
        pytest.param(BLANK_LINE, StepForm(separators=(), headings=("## Step",)), set(), False, id="headings alone"),
    ],
)
async def test_a_token_that_completes_a_separator_ends_a_step(
    at_end: AsyncExitStack, vocabulary: tuple[str, ...], form: StepForm, ends: set[str], exact: bool
) -> None:
    """Its text is known; whether there may be other ends is said."""
    fake = await serve(at_end, *vocabulary)
    assert await found(at_end, fake, form) == StepStops({fake.words.index(end): end for end in ends}, exact)


async def test_a_separator_may_be_one_token_at_the_end_of_a_text_only(at_end: AsyncExitStack) -> None:
    """Where it is two before a word, as in most of a text, the engine cannot be relied on."""
    fake = await at_end.enter_async_context(WhiteSpaceApart(name="small", vocabulary=BLANK_LINE).running())
    assert [fake.text([token]) for token in fake.ids("a\n\nb")] == ["a", "\n", "\n", "b"]
    assert await found(at_end, fake, StepForm()) == StepStops({BLANK_LINE.index("\n\n"): "\n\n"}, exact=False)


@pytest.mark.parametrize("vocabulary", [BLANK_LINE, MERGED])
async def test_a_text_written_step_by_step_is_the_text(at_end: AsyncExitStack, vocabulary: tuple[str, ...]) -> None:
    """Each stream ends with the token that holds the separator, and the next goes on behind it."""
    fake = await serve(at_end, *vocabulary)
    fake.writes(TEXT)
    policy, prompt = asks(at_end, fake), tuple(fake.ids("sum:"))
    steps = []
    for _ in range(3):
        text, ids, reason = joined(await step(policy, prompt))
        steps.append((text, reason))
        prompt += ids
    assert steps == [(" a\n\n", "step"), ("so b.\n\n", "step"), ("c", "stop")]
    assert list(prompt) == fake.ids(TEXT)


async def test_a_step_ends_with_the_whole_of_a_merged_token(at_end: AsyncExitStack) -> None:
    """White space that follows in the same token leads the next step: no token is cut."""
    fake = await serve(at_end, *MERGED)
    fake.writes("a:\n\n  b")
    assert await step(asks(at_end, fake), tuple(fake.ids("a:"))) == [Chunk("\n\n  ", (MERGED.index("\n\n  "),), "step")]


@pytest.mark.parametrize(("vocabulary", "large"), [(BLANK_LINE, True), (MERGED, False), (CHARACTERS, False)])
async def test_pieces_are_single_tokens_where_a_step_may_end_unseen(
    at_end: AsyncExitStack, vocabulary: tuple[str, ...], large: bool
) -> None:
    """A reader who must find the end himself is told every token; else the engine sees to it."""
    fake = await serve(at_end, *vocabulary)
    fake.writes(TEXT)
    await step(asks(at_end, fake), tuple(fake.ids("sum:")))
    (body,) = fake.bodies("/v1/completions")
    assert (body["stream_interval"] > 1) is large


async def test_a_separator_of_several_tokens_is_left_to_the_reader(at_end: AsyncExitStack) -> None:
    """The stream goes on past it, to its own end."""
    fake = await serve(at_end, *CHARACTERS)
    fake.writes(TEXT)
    chunks = await step(asks(at_end, fake), tuple(fake.ids("sum:")))
    assert joined(chunks) == (" a\n\nso b.\n\nc", tuple(fake.ids(" a\n\nso b.\n\nc")), "stop")
    assert "stop_token_ids" not in fake.bodies("/v1/completions")[0]


async def test_a_stream_that_is_not_bounded_by_steps_asks_for_no_stop(at_end: AsyncExitStack) -> None:
    """Nor is anything found out for it."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.writes(TEXT)
    stream = asks(at_end, fake).stream(
        tuple(fake.ids("sum:")), max_tokens=40, sampling=Sampling(1.0), seed=7, bill=Bill()
    )
    assert joined([chunk async for chunk in stream])[::2] == (" a\n\nso b.\n\nc", "stop")
    assert "stop_token_ids" not in fake.bodies("/v1/completions")[0]
    assert fake.bodies("/tokenize") == []


async def test_a_step_that_is_too_long_ends_by_its_length(at_end: AsyncExitStack) -> None:
    """As any stream does."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.writes(TEXT)
    assert joined(await step(asks(at_end, fake), tuple(fake.ids("sum:")), max_tokens=2))[::2] == (" a", "length")


@pytest.mark.parametrize("stop_reason", [None, 3, "\n\n"])
async def test_only_a_separators_token_ends_a_step(at_end: AsyncExitStack, stop_reason: int | str | None) -> None:
    """The end of the text, another token that a model's own configuration stops at, and a stop string are "stop"."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.replies["/v1/completions"] = lambda _: Events([delta("a", [1, 3], "stop", stop_reason=stop_reason)])
    assert await step(asks(at_end, fake), (1,)) == [Chunk("a", (1, 3), "stop")]


@pytest.mark.parametrize(
    ("stop", "text", "reason"),
    [
        (("\n\n",), " a", "stop"),
        (("a\n", "\n\n"), " ", "stop"),
        (("\n\n", "a\n"), " ", "stop"),
        (("\n\nso",), " a\n\n", "step"),
    ],
)
async def test_a_stop_string_is_found_in_the_separator_too(
    at_end: AsyncExitStack, stop: tuple[str, ...], text: str, reason: str
) -> None:
    """The engine does not look there: of several the one that is complete first ends the text, and is left out."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.writes(TEXT)
    bill = Bill()
    assert joined(await step(asks(at_end, fake), tuple(fake.ids("sum:")), bill, stop))[::2] == (text, reason)
    assert bill.generated == 3


async def test_a_step_that_was_complete_when_its_reader_left_is_no_end(at_end: AsyncExitStack) -> None:
    """What nobody has read says the same as what was read."""
    fake = await serve(at_end, *BLANK_LINE)
    end = BLANK_LINE.index("\n\n")
    unread = [delta(" b", [5, 6, end], "stop", stop_reason=end), {**usage(9, 5, 8), "choices": []}, b"[DONE]"]
    fake.replies["/v1/completions"] = lambda _: Events([delta("a c", [4, 5])], then="hold", aborted=unread)
    bill = Bill()
    stream = asks(at_end, fake).stream((1,), max_tokens=8, sampling=Sampling(1.0), seed=7, bill=bill, stop_at_step=True)
    await anext(stream)
    await stream.aclose()
    assert bill == Bill(9, 8, 5, exact=True, unread=Chunk(" b\n\n", (5, 6, end), "step"))


async def test_the_ends_of_steps_are_found_out_once(at_end: AsyncExitStack) -> None:
    """By the first stream that needs them; the others wait for it."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.writes(TEXT)
    policy, prompt = asks(at_end, fake), tuple(fake.ids("sum:"))
    await asyncio.gather(*(step(policy, prompt) for _ in range(4)))
    asked = [tuple(body["tokens"]) for body in fake.bodies("/detokenize")]
    assert len(set(asked)) == len(asked) > 0


async def test_a_reader_who_leaves_before_anything_is_asked_owes_nothing(
    at_end: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ends of steps are still being found out: the bill is exact, and empty."""
    policy, bill = asks(at_end, await serve(at_end, *BLANK_LINE)), Bill()
    monkeypatch.setattr(policy, "_step_stops", asyncio.Event().wait)
    reading = asyncio.create_task(step(policy, (1, 2), bill))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (bill.prompt, bill.generated, bill.exact) == (0, 0, True)


async def test_an_engine_that_cannot_tell_them_is_asked_again(at_end: AsyncExitStack) -> None:
    """Steps are not taken to have no end because of one failure."""
    fake = await serve(at_end, *BLANK_LINE)
    fake.writes(TEXT)
    policy, prompt = asks(at_end, fake), tuple(fake.ids("sum:"))
    fake.replies["/detokenize"] = lambda _: web.json_response({})
    with pytest.raises(EngineError, match="detokenize"):
        await step(policy, prompt)
    del fake.replies["/detokenize"]
    assert joined(await step(policy, prompt))[2] == "step"
