"""What a client says of sampling, as the engine is told it."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fake_vllm import Events, FakeVllm, Json, delta, usage

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.errors import EngineError, InvalidRequest
from service.search.ports import Bill, Chunk, Sampling, TokenLogprobs
from service.search.sampling import SamplingSpec
from service.settings import PolicySettings

WHOLE: list[Json | bytes] = [delta("It is", [4, 5], "stop"), {**usage(9, 2, 8), "choices": []}]
REFUSAL = {"message": "token_id(s) [99] are out of vocabulary", "type": "BadRequestError", "code": 400}
USER = [{"role": "user", "content": "how many ?"}]

Sampler = Callable[..., Awaitable[list[Chunk]]]


@pytest.fixture
async def fake(at_end: AsyncExitStack) -> FakeVllm:
    """A server that writes two words."""
    fake = await at_end.enter_async_context(FakeVllm(name="small").running())
    fake.replies["/v1/completions"] = lambda _: Events(WHOLE)
    return fake


@pytest.fixture
def policy(fake: FakeVllm, at_end: AsyncExitStack) -> Callable[..., VllmPolicy]:
    """Make a policy on that server."""

    def make(**form: Any) -> VllmPolicy:
        settings = PolicySettings.model_validate({"model": "small", "url": fake.url, "prompt": form})
        asker = VllmPolicy(settings, Fleet(settings))
        at_end.push_async_callback(asker.aclose)
        return asker

    return make


@pytest.fixture
def sample(policy: Callable[..., VllmPolicy]) -> Sampler:
    """Have the policy write with what a client asks for."""

    async def run(*, max_tokens: int = 8, step: bool = False, texts: bool = False, **asked: Any) -> list[Chunk]:
        extras = SamplingSpec.model_validate(asked).extras
        sampling = Sampling(1.0, extras=extras, logprobs=1 if texts else None, texts=texts)
        stream = policy().stream(
            (1, 2, 3), max_tokens=max_tokens, sampling=sampling, seed=7, bill=Bill(), stop_at_step=step
        )
        return [chunk async for chunk in stream]

    return run


async def test_what_is_asked_is_told_by_vllms_names(fake: FakeVllm, sample: Sampler) -> None:
    """Every extra comes to the engine as it was sent, and nothing that was not."""
    asked = {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.2,
        "logit_bias": {"7": -100},
        "allowed_token_ids": [4, 5],
        "bad_words": ["pen"],
        "min_tokens": 3,
        "stop_token_ids": [9],
        "include_stop_str_in_output": True,
        "ignore_eos": True,
        "thinking_token_budget": 20,
    }
    await sample(**asked)
    await sample()
    told, bare = fake.bodies("/v1/completions")
    assert {field: told[field] for field in asked} == asked
    assert set(asked) & set(bare) == {"repetition_penalty"}
    assert bare["repetition_penalty"] == 1


async def test_fewest_tokens_are_no_more_than_are_left(fake: FakeVllm, sample: Sampler) -> None:
    """VLLM refuses a request that must write more than it may: where a budget leaves less, less will do."""
    await sample(max_tokens=2, min_tokens=5)
    assert fake.bodies("/v1/completions")[0]["min_tokens"] == 2


async def test_what_is_written_counts_towards_the_fewest() -> None:
    """A candidate that goes on after five tokens has to write only the rest."""
    sampling = Sampling(1.0, extras=SamplingSpec(min_tokens=8).extras)
    assert sampling.after(5).extras.min_tokens == 3
    assert sampling.after(9).extras.min_tokens == 0


async def test_a_clients_stop_beats_the_end_of_a_step(fake: FakeVllm, sample: Sampler) -> None:
    """Its token ends the candidate even where the same one would end a step."""
    await sample(step=True)
    ends = fake.bodies("/v1/completions")[0].get("stop_token_ids", [])
    await sample(step=True, stop_token_ids=[9, *ends[:1]])
    assert sorted(fake.bodies("/v1/completions")[1]["stop_token_ids"]) == sorted({9, *ends})


@pytest.mark.parametrize("in_stream", [True, False])
async def test_what_the_engine_finds_wrong_is_the_clients_to_mend(
    fake: FakeVllm, sample: Sampler, in_stream: bool
) -> None:
    """A refusal before the stream or in it is a 400 of ours where a client chose the value, and else the engine's."""

    def refuse(_: Json) -> web.StreamResponse | Events:
        return Events([{"error": REFUSAL}]) if in_stream else web.json_response({"error": REFUSAL}, status=400)

    fake.replies["/v1/completions"] = refuse
    with pytest.raises(InvalidRequest, match="out of vocabulary"):
        await sample(logit_bias={"99": 1})
    with pytest.raises(EngineError, match="out of vocabulary"):
        await sample()


async def test_log_probabilities_come_with_texts(fake: FakeVllm, sample: Sampler) -> None:
    """They are the engine's own texts; the sampled token is listed with the others, most probable first."""
    listed = [{"It": -0.5, "He": -1.5}, {" is": -3.0, " was": -0.25}]
    given = {"tokens": ["It", " is"], "token_logprobs": [-0.5, -3.0], "top_logprobs": listed}
    fake.replies["/v1/completions"] = lambda _: Events([delta("It is", [4, 5], "stop", given)])
    (chunk,) = await sample(texts=True)
    assert chunk.logprobs == (
        TokenLogprobs(-0.5, (-0.5,), "It", (("It", -0.5), ("He", -1.5))),
        TokenLogprobs(-3.0, (-0.25,), " is", ((" was", -0.25), (" is", -3.0))),
    )
    assert fake.bodies("/v1/completions")[0]["return_tokens_as_token_ids"] is False


async def test_template_variables_go_to_the_tokenizer(fake: FakeVllm, policy: Callable[..., VllmPolicy]) -> None:
    """Chats with other variables are other prompts, also to the memory of prompts."""
    asker = policy()
    for variables in ({}, {"enable_thinking": False}, {"enable_thinking": False}, {"enable_thinking": True}):
        await asker.prompt_ids(USER, variables)
    asked = [body.get("chat_template_kwargs") for body in fake.bodies("/tokenize")]
    assert asked == [None, {"enable_thinking": False}, {"enable_thinking": True}]


async def test_a_template_of_our_own_sees_the_variables(
    fake: FakeVllm, policy: Callable[..., VllmPolicy], tmp_path: Path
) -> None:
    """They cannot stand in for the messages, and one of the wrong type is the client's mistake."""
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages[0].content }} {{ effort + '!' }}")
    asker = policy(template_file=str(file))
    await asker.prompt_ids(USER, {"effort": "high", "messages": []})
    assert fake.bodies("/tokenize")[0]["prompt"] == "how many ? high!"
    with pytest.raises(InvalidRequest, match=r"chat\.jinja"):
        await asker.prompt_ids(USER, {"effort": 3})
