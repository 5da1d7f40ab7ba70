from typing import Any

import httpx
import pytest

from service.cli.client import Client, GatewayDown, NotMull, Search
from service.errors import EngineUnavailable, InvalidRequest
from tests.service.cli.fake_gateway import URL, FakeGateway, completion, failure

SEARCH = Search("tiny", "best_of_n", samples=4)


async def test_a_search_becomes_the_mull_object() -> None:
    """What was not asked for is not sent, so that the gateway's own defaults hold."""
    full = Search(
        "tiny",
        "best_of_n",
        samples=4,
        early_stop="exact",
        economy=True,
        source="reward_model",
        select="best",
        steps="last",
        seed=7,
        max_tokens=99,
        deadline_s=1.5,
        policy_tokens=900,
        parallel=2,
    )
    assert full.body("1 + 1?", include=("candidates",)) == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "1 + 1?"}],
        "max_completion_tokens": 99,
        "seed": 7,
        "mull": {
            "strategy": {"name": "best_of_n", "samples": 4, "early_stop": "exact", "economy": True},
            "score": {"source": "reward_model", "select": "best", "steps": "last"},
            "budget": {"deadline_ms": 1500, "policy_tokens": 900, "parallel": 2},
            "include": ["candidates"],
        },
    }
    assert Search("tiny", "greedy").body("?")["mull"] == {"strategy": {"name": "greedy"}}


async def test_an_answer_is_read() -> None:
    """The `mull` object, the cache header and the untouched body come back."""
    gateway = FakeGateway(lambda question, body: completion("2"))
    gateway.cache = "hit"
    async with Client(URL, transport=gateway.transport) as client:
        reply = await client.ask("1 + 1?", SEARCH)
    assert (reply.mull.answer, reply.mull.usage.policy_tokens, reply.cache) == ("2", 100, "hit")
    assert reply.body["id"] == "chatcmpl-1"


async def test_an_error_of_the_gateway_keeps_its_class_and_message() -> None:
    """The OpenAI-shaped error body becomes the error it was made from."""
    gateway = FakeGateway(lambda question, body: failure(503, "The policy is down.", "EngineUnavailable"))
    async with Client(URL, transport=gateway.transport) as client:
        with pytest.raises(EngineUnavailable, match=r"The policy is down\."):
            await client.ask("1 + 1?", SEARCH)


async def test_no_gateway_says_mull_up() -> None:
    """A refused connection is told as what to do."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with Client(URL, transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(GatewayDown) as caught:
            await client.models()
    assert "mull up" in caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, json={"mull": {"answer": "2"}}),
        httpx.Response(404, json={"detail": "Not Found"}),
    ],
)
async def test_another_server_is_not_taken_for_mull(answer: httpx.Response) -> None:
    """Neither a web page nor a plain OpenAI server at the address is an answer."""
    gateway = FakeGateway(lambda question, body: answer)
    async with Client(URL, transport=gateway.transport) as client:
        with pytest.raises(NotMull, match="not Mull's gateway"):
            await client.ask("1 + 1?", SEARCH)


async def test_the_only_model_is_the_default() -> None:
    """With several models the choice is left to the user, with their names."""

    def never(question: str, body: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError

    gateway = FakeGateway(never)
    async with Client(URL, transport=gateway.transport) as client:
        assert await client.model(None) == "tiny"
        gateway.models = ["large", "tiny"]
        assert await client.model("large") == "large"
        with pytest.raises(InvalidRequest) as caught:
            await client.model(None)
    assert "--model: large, tiny" in caught.value.hint
