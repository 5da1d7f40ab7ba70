"""Standard fields against the engine that serves them: what comes through the gateway is what vLLM says itself."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.stack

QUESTION = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
LIMIT_S = 60.0


@pytest.fixture
def http(stack: Any) -> httpx.Client:
    """A client of the running gateway."""
    return httpx.Client(base_url=stack.gateway_url, timeout=LIMIT_S)


@pytest.fixture
def vllm(stack: Any) -> httpx.Client:
    """A client of the policy's own server."""
    return httpx.Client(base_url=stack.policy_url, timeout=LIMIT_S)


def greedy(**fields: Any) -> dict[str, Any]:
    """A chat that has one answer."""
    return {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 60} | fields


def ours(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Mull's first choice."""
    response = http.post("/v1/chat/completions", json=greedy(model="tiny", **fields))
    assert response.status_code == 200, response.text
    return dict(response.json()["choices"][0])


def theirs(vllm: httpx.Client, **fields: Any) -> dict[str, Any]:
    """VLLM's own choice."""
    response = vllm.post("/v1/chat/completions", json=greedy(model="tiny-policy", **fields))
    assert response.status_code == 200, response.text
    return dict(response.json()["choices"][0])


def test_logprobs_of_a_chat_are_vllms_own(http: httpx.Client, vllm: httpx.Client) -> None:
    """Token by token the same texts and numbers, up to the end of the text; most probable tokens first."""
    asked = {"logprobs": True, "top_logprobs": 3}
    mine, own = ours(http, **asked)["logprobs"]["content"], theirs(vllm, **asked)["logprobs"]["content"]
    assert 10 < len(mine) <= len(own)
    for one, other in zip(mine, own, strict=False):
        assert (one["token"], one["bytes"]) == (other["token"], other["bytes"])
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)
        found = {top["token"]: top["logprob"] for top in one["top_logprobs"]}
        assert found == pytest.approx({top["token"]: top["logprob"] for top in other["top_logprobs"]}, abs=1e-3)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_logprobs_of_a_completion_are_vllms_own(http: httpx.Client, vllm: httpx.Client) -> None:
    """The same in the other form."""
    body = {"prompt": QUESTION, "temperature": 0, "max_tokens": 12, "logprobs": 2}
    choice = http.post("/v1/completions", json=body | {"model": "tiny"}).json()["choices"][0]
    own = vllm.post("/v1/completions", json=body | {"model": "tiny-policy"}).json()["choices"][0]["logprobs"]
    mine = choice["logprobs"]
    count = len(mine["tokens"])
    assert 0 < count <= len(own["tokens"])
    assert mine["tokens"] == own["tokens"][:count]
    assert mine["token_logprobs"] == pytest.approx(own["token_logprobs"][:count], abs=1e-3)
    assert all(m == pytest.approx(o, abs=1e-3) for m, o in zip(mine["top_logprobs"], own["top_logprobs"], strict=False))
    assert all(choice["text"][at:].startswith(t) for at, t in zip(mine["text_offset"], mine["tokens"], strict=True))


def test_a_tree_has_the_log_probabilities_of_all_its_steps(http: httpx.Client) -> None:
    """Steps that were sampled by requests of their own make one list of tokens, which is the whole text."""
    choice = ours(http, logprobs=True, temperature=1, seed=5, mull={"strategy": {"name": "beam_search", "beams": 2}})
    text = choice["message"]["content"]
    assert "".join("".join(t["token"].split()) for t in choice["logprobs"]["content"]) == "".join(text.split())


def test_a_bias_reaches_the_policy(http: httpx.Client, vllm: httpx.Client) -> None:
    """A token that is biased away is not written, and the text is what vLLM writes with the same bias."""
    plain = theirs(vllm, return_token_ids=True)
    bias = {"logit_bias": {str(plain["token_ids"][0]): -100}}
    biased = ours(http, **bias)["message"]["content"]
    assert biased != ours(http)["message"]["content"]
    assert theirs(vllm, **bias)["message"]["content"].startswith(biased)


def test_what_only_the_engine_knows_is_the_clients_mistake(http: httpx.Client) -> None:
    """A token id that the vocabulary has not got is a 400 with the engine's words, and the engine goes on."""
    body = greedy(model="tiny", logit_bias={"99999999": 1})
    response = http.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "99999999" in response.json()["error"]["message"]
    assert ours(http, max_tokens=5)["finish_reason"] == "length"


def test_models_know_the_context_of_their_engine(http: httpx.Client, vllm: httpx.Client) -> None:
    """It is what vLLM says itself."""
    (card,) = http.get("/v1/models").json()["data"]
    assert card["mull"]["context"] == vllm.get("/v1/models").json()["data"][0]["max_model_len"]


def test_template_variables_are_taken(http: httpx.Client) -> None:
    """A variable that the policy's template does not use changes nothing."""
    assert ours(http, chat_template_kwargs={"enable_thinking": False})["message"] == ours(http)["message"]
