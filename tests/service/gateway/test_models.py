"""GET /v1/models, and dry runs."""

from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings

from service.errors import EngineUnavailable
from service.gateway import models
from service.gateway.app import create_app
from service.settings import Settings

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "x" * 40}]}


def app_client(workers: FakeWorkers, config: Settings | None = None) -> httpx.AsyncClient:
    """A client of a gateway."""
    transport = httpx.ASGITransport(create_app(config or settings(), workers))
    return httpx.AsyncClient(transport=transport, base_url="http://mull")


async def dry(http: httpx.AsyncClient, path: str = "/v1/chat/completions", **fields: Any) -> dict[str, Any]:
    """Return the plan of a request."""
    mull = {"dry_run": True, **fields.pop("mull", {})}
    base = CHAT if path == "/v1/chat/completions" else {"model": "tiny", "prompt": "1+1="}
    response = await http.post(path, json={**base, **fields, "mull": mull})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_models_say_what_stands_behind_them(http: httpx.AsyncClient) -> None:
    """The policy, the judge and how it reads, and which strategies work without further words."""
    listed = (await http.get("/v1/models")).json()
    assert listed["object"] == "list"
    tiny, bare = listed["data"]
    assert (tiny["id"], tiny["object"], tiny["owned_by"]) == ("tiny", "model", "mull")
    assert (tiny["mull"]["policy"], tiny["mull"]["context"]) == ("p", 4096)
    assert tiny["mull"]["reward_model"] == {"name": "r", "family": "label_token", "reads": "step"}
    assert {"sample", "best_of_n", "mcts"} <= {*tiny["mull"]["strategies"]}
    assert tiny["mull"]["efforts"]["high"]["strategy"]["samples"] == 64
    assert tiny["mull"]["default"]["strategy"]["name"] == "sample"
    assert bare["mull"]["reward_model"] is None
    assert bare["mull"]["strategies"] == ["greedy", "sample", "majority_vote"]


async def test_models_are_listed_while_no_engine_tells(
    http: httpx.AsyncClient, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the engines know is left open, where they fail as where they are silent."""
    monkeypatch.setattr(models, "LONGEST_S", 0.01)
    workers.ready_error = EngineUnavailable("No worker is there.")
    assert [card["mull"]["context"] for card in (await http.get("/v1/models")).json()["data"]] == [None, None]
    workers.ready_error, workers.hold = None, True
    assert (await http.get("/v1/models/tiny")).json()["mull"]["context"] is None


async def test_nothing_that_is_secret_is_listed(workers: FakeWorkers) -> None:
    """Neither where engines run nor by which key."""
    policy = {"model": "/home/me/weights", "url": "http://10.1.2.3:8000", "api_key_env": "POLICY_KEY"}
    async with app_client(workers, settings(policies={"p": policy})) as http:
        text = (await http.get("/v1/models")).text
    assert not [word for word in ("10.1.2.3", "POLICY_KEY", "/home/me") if word in text]


async def test_aliases_are_models_too(workers: FakeWorkers) -> None:
    """Each says whose name it is and how it is searched; what it does not take is not offered."""
    tiny = {"policy": "p", "reward": "r", "aliases": {"org/tiny-high": {"effort": "high"}}}
    async with app_client(workers, settings(models={"tiny": tiny})) as http:
        listed = (await http.get("/v1/models")).json()["data"]
        alone = (await http.get("/v1/models/org/tiny-high")).json()
    assert [card["id"] for card in listed] == ["tiny", "org/tiny-high"]
    assert listed[1] == alone
    assert (alone["parent"], alone["mull"]["reasoning_effort"]) == ("tiny", "fixed")
    assert alone["mull"]["default"]["strategy"] == listed[0]["mull"]["efforts"]["high"]["strategy"]
    assert (alone["mull"]["strategies"], alone["mull"]["efforts"]) == ([], {})


async def test_an_unknown_model_is_not_found(http: httpx.AsyncClient) -> None:
    """In OpenAI's shape, with those that there are."""
    response = await http.get("/v1/models/huge")
    assert response.status_code == 404
    assert "Known: tiny, bare" in response.json()["error"]["message"]


async def test_a_dry_run_asks_nobody(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """It comes with all defaults filled in, and without the question."""
    plan = await dry(http, reasoning_effort="low", temperature=0.5)
    assert workers.requests == []
    assert (plan["object"], plan["model"]) == ("mull.plan", "tiny")
    search = plan["search"]
    assert search["strategy"]["name"] == "best_of_n"
    assert search["strategy"]["samples"] == 4
    assert search["score"]["source"] == "reward_model"
    assert (search["max_completion_tokens"], search["budget"]["deadline_ms"]) == (512, 120_000)
    assert (search["sampling"]["temperature"], search["sampling"]["top_p"]) == (0.5, 1.0)
    assert "x" * 40 not in str(plan)


async def test_a_dry_run_estimates_what_it_can(http: httpx.AsyncClient) -> None:
    """Tokens from lengths that it names, money from the prices; seconds it does not know before the first search."""
    plan = await dry(http, max_tokens=64, mull={"strategy": {"name": "majority_vote", "samples": 4}})
    assert plan["assuming"] == {"prompt_tokens": 26, "candidate_tokens": 64, "step_tokens": 32}
    expected = plan["expected"]
    assert (expected["policy_tokens"], expected["reward_tokens"], expected["candidates"]) == (256, 0, 4)
    assert expected["money"] == pytest.approx((4 * 26 * 1 + 256 * 2) / 1e6)
    assert (expected["seconds"], expected["stopped_by"]) == (None, None)


async def test_a_dry_run_within_a_budget_says_what_runs_out(http: httpx.AsyncClient) -> None:
    """The estimate is what is spent until then."""
    strategy = {"name": "best_of_n", "samples": 8}
    plan = await dry(http, max_tokens=64, mull={"strategy": strategy, "budget": {"policy_tokens": 128}})
    assert plan["expected"]["stopped_by"] == "policy_tokens"
    assert (plan["expected"]["policy_tokens"], plan["expected"]["candidates"]) == (128, 2)


async def test_a_dry_run_without_prices_has_no_money(workers: FakeWorkers) -> None:
    """None is said where none is known."""
    async with app_client(workers, settings(policies={"p": {"model": "some/policy"}})) as http:
        assert (await dry(http))["expected"]["money"] is None


async def test_a_tree_reads_its_prompt_at_every_step(http: httpx.AsyncClient) -> None:
    """So it costs more than as many tokens sampled at once."""
    flat = await dry(http, max_tokens=128, mull={"strategy": {"name": "best_of_n", "samples": 4}})
    tree = await dry(http, max_tokens=128, mull={"strategy": {"name": "beam_search", "beams": 4}})
    per_token = [plan["expected"]["money"] / plan["expected"]["policy_tokens"] for plan in (flat, tree)]
    assert per_token[1] > per_token[0]


async def test_a_judge_of_whole_solutions_reads_each_once(workers: FakeWorkers) -> None:
    """Step by step it would read a solution as often as it has steps."""
    async with app_client(workers, settings(reward_models={"r": {"model": "some/rm", "family": "qwen_rm"}})) as http:
        plan = await dry(http, max_tokens=64, mull={"strategy": {"name": "best_of_n", "samples": 4}})
    assert plan["expected"]["reward_tokens"] == 4 * (26 + 64)


async def test_a_completion_has_a_dry_run_too(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """Greedy decoding says its temperature; what is refused is refused as ever."""
    plan = await dry(http, "/v1/completions", mull={"strategy": "greedy"})
    assert plan["search"]["sampling"]["temperature"] == 0
    for wrong in ({"prompt": ""}, {"stream": True}):
        body = {"model": "tiny", "prompt": "1+1=", "mull": {"dry_run": True}} | wrong
        assert (await http.post("/v1/completions", json=body)).status_code == 400
    assert workers.requests == []
