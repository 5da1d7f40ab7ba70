"""Log-probabilities in the two shapes that OpenAI gives them."""

import openai
import pytest
from fake_workers import FakeWorkers, result, settings
from httpx import ASGITransport, AsyncClient

from service.gateway.app import create_app
from service.search.request import SearchRequest, SearchResult, TokenLogprob

TOKENS = (
    TokenLogprob(token="So", offset=0, logprob=-0.5, top=(("So", -0.5), ("It", -1.5))),
    TokenLogprob(token=" é", offset=2, logprob=-3.0, top=((" is", -0.1), (" was", -2.5))),
)


class Telling(FakeWorkers):
    """Gives every choice two tokens."""

    async def search(self, request: SearchRequest, deadline_s: float) -> SearchResult:
        """Answer at once."""
        self.requests.append(request)
        found = result(request)
        choices = tuple(choice.model_copy(update={"logprobs": TOKENS}) for choice in found.choices)
        return found.model_copy(update={"choices": choices}) if request.logprobs is not None else found


@pytest.fixture
def client() -> openai.AsyncOpenAI:
    """The official client."""
    http = AsyncClient(transport=ASGITransport(create_app(settings(), Telling())), base_url="http://mull")
    return openai.AsyncOpenAI(base_url="http://mull/v1", api_key="none", http_client=http, max_retries=0)


async def test_a_chat_lists_tokens_with_their_bytes(client: openai.AsyncOpenAI) -> None:
    """A token that is not among the most probable ones is not among them."""
    answer = await client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "1+1?"}], logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    first, second = logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("So", -0.5, [83, 111])
    assert second.bytes == [32, 0xC3, 0xA9]
    assert [(top.token, top.logprob) for top in second.top_logprobs] == [(" is", -0.1), (" was", -2.5)]


async def test_a_completion_lists_columns(client: openai.AsyncOpenAI) -> None:
    """A token that is not among the most probable ones is listed beside them."""
    answer = await client.completions.create(model="tiny", prompt="1+1=", logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["So", " é"]
    assert logprobs.token_logprobs == [-0.5, -3.0]
    assert logprobs.text_offset == [0, 2]
    assert logprobs.top_logprobs == [{"So": -0.5, "It": -1.5}, {" é": -3.0, " is": -0.1, " was": -2.5}]


async def test_choices_have_null_where_nothing_was_asked(client: openai.AsyncOpenAI) -> None:
    """As OpenAI's have."""
    answer = await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "1+1?"}])
    assert answer.choices[0].logprobs is None
