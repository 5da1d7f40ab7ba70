from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from service.gateway.catalogue import CatalogueAsk, catalogue, first_sentence, within
from strategies.best_of_n import BestOfN
from strategies.cost import Cost, Lengths
from strategies.registry import STRATEGIES, StrategySpec

SPECS: TypeAdapter[StrategySpec] = TypeAdapter(StrategySpec)
LENGTHS = Lengths(prompt=10, candidate=100, step=50)
TOKENS = st.integers(0, 10_000)
LIMIT = st.integers(1, 10_000)


async def listed(http: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    """The body of GET /v1/strategies."""
    response = await http.get(f"/v1/strategies{query}")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def entry(body: dict[str, Any], name: str) -> dict[str, Any]:
    """What is said of one strategy."""
    found: dict[str, Any] = next(one for one in body["data"] if one["name"] == name)
    return found


async def test_all_strategies_are_listed_in_order(http: httpx.AsyncClient) -> None:
    """As the registry has them, in OpenAI's list shape."""
    body = await listed(http)
    assert body["object"] == "list"
    assert [one["name"] for one in body["data"]] == [kind.model_fields["name"].default for kind in STRATEGIES.values()]


async def test_a_strategy_says_what_it_is_and_takes(http: httpx.AsyncClient) -> None:
    """What it does, from where it comes, what it needs, and each parameter with its bounds and default."""
    one = entry(await listed(http), "best_of_n")
    assert one["description"].startswith("argmax over candidates of their score")
    assert "arXiv:2110.14168" in one["paper"]
    assert one["needs_reward_model"] is True
    assert one["score_sources"] == ["reward_model", "mean_logprob", "self_certainty@20"]
    assert one["defaults"] == {"samples": 16, "early_stop": None, "economy": False}
    assert one["parameters"]["additionalProperties"] is False
    assert one["parameters"]["properties"]["samples"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1024,
        "default": 16,
        "description": "Number of candidates, N.",
    }


async def test_what_uses_no_scores_needs_no_reward_model(http: httpx.AsyncClient) -> None:
    """And takes scores from nowhere."""
    one = entry(await listed(http), "majority_vote")
    assert (one["needs_reward_model"], one["score_sources"], one["cost"]["reward_tokens"]) == (False, [], 0)


@pytest.mark.parametrize("place", range(len(STRATEGIES.values())))
def test_the_defaults_are_those_of_a_bare_name(place: int) -> None:
    """To send them is to send the name alone; each of them has a schema."""
    one = catalogue(CatalogueAsk()).data[place]
    assert SPECS.validate_python({"name": one.name, **one.defaults}) == SPECS.validate_python({"name": one.name})
    assert set(one.parameters["properties"]) == set(one.defaults)
    assert one.description.endswith(".")


async def test_the_cost_is_that_of_the_assumed_lengths(http: httpx.AsyncClient) -> None:
    """Sixteen candidates of 100 tokens, their two steps scored after 10 + 50 and 10 + 100 tokens; that is said."""
    body = await listed(http, "?prompt_tokens=10&candidate_tokens=100&step_tokens=50")
    assert body["assuming"] == {"prompt_tokens": 10, "candidate_tokens": 100, "step_tokens": 50}
    assert "Estimates from assumed lengths" in body["note"]
    one = entry(body, "best_of_n")
    assert one["cost"] == {"policy_tokens": 1600, "reward_tokens": 16 * 170, "candidates": 16}
    assert "within_budget" not in one


async def test_a_budget_cuts_the_cost(http: httpx.AsyncClient) -> None:
    """And names the limit that runs out first; what costs less is not cut."""
    body = await listed(http, "?prompt_tokens=10&candidate_tokens=100&step_tokens=50&policy_tokens=850")
    cut = {"policy_tokens": 850, "reward_tokens": 1445, "candidates": 8, "stopped_by": "policy_tokens"}
    assert entry(body, "best_of_n")["within_budget"] == cut
    whole = {"policy_tokens": 100, "reward_tokens": 0, "candidates": 1, "stopped_by": None}
    assert entry(body, "greedy")["within_budget"] == whole


def test_the_tighter_of_two_limits_stops_the_search() -> None:
    """A tenth of the reward tokens is less than half of the policy tokens."""
    cost = BestOfN(samples=10).cost(LENGTHS)
    cut = within(cost, {"policy_tokens": 500, "reward_tokens": cost.reward_tokens // 10}, LENGTHS)
    assert (cut.policy_tokens, cut.candidates, cut.stopped_by) == (100, 1, "reward_tokens")


@given(policy=TOKENS, reward=TOKENS, most_policy=LIMIT, most_reward=LIMIT)
def test_no_estimate_exceeds_its_budget(policy: int, reward: int, most_policy: int, most_reward: int) -> None:
    """Nor the cost without one; nothing is cut where both limits are enough."""
    cut = within(Cost(policy, reward), {"policy_tokens": most_policy, "reward_tokens": most_reward}, LENGTHS)
    assert cut.policy_tokens <= min(policy, most_policy)
    assert cut.reward_tokens <= min(reward, most_reward)
    enough = policy <= most_policy and reward <= most_reward
    assert (cut.stopped_by is None) == enough
    assert not enough or (cut.policy_tokens, cut.reward_tokens) == (policy, reward)


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ("tokens=5", "tokens", "Known here: candidate_tokens, policy_tokens"),
        ("policy_tokens=0", "policy_tokens", "greater than or equal to 1"),
        ("policy_tokens=", "policy_tokens", "valid integer"),
        ("reward_tokens=many", "reward_tokens", "valid integer"),
        ("prompt_tokens=-3", "prompt_tokens", "greater than or equal to 1"),
        ("candidate_tokens=1000000000", "candidate_tokens", "less than or equal to 100000"),
        ("candidate_tokens=10&step_tokens=11", "step_tokens", "not longer than a solution"),
        ("policy_tokens=5&policy_tokens=6", "policy_tokens", "given twice"),
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(
    http: httpx.AsyncClient, query: str, param: str, said: str
) -> None:
    """With a 400 in OpenAI's shape that names the parameter."""
    response = await http.get(f"/v1/strategies?{query}")
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, "InvalidRequest")
    assert said in error["message"]


async def test_a_short_solution_is_one_step(http: httpx.AsyncClient) -> None:
    """The default length of a step gives way."""
    assert (await listed(http, "?candidate_tokens=10"))["assuming"]["step_tokens"] == 10


async def test_it_is_answered_without_engines(http: httpx.AsyncClient, workers: FakeWorkers) -> None:
    """No worker is asked, and the request has its id like any other."""
    response = await http.get("/v1/strategies", headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] == "mine"
    assert workers.requests == []


async def test_openapi_describes_query_and_answer(http: httpx.AsyncClient) -> None:
    """The query's fields are parameters, the answer has a schema."""
    document = (await http.get("/openapi.json")).json()
    described = document["paths"]["/v1/strategies"]["get"]
    assert [one["name"] for one in described["parameters"]] == list(CatalogueAsk.model_fields)
    assert described["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Catalogue")


def test_a_first_sentence_may_hold_points() -> None:
    """It ends where another one begins."""
    assert first_sentence("c·P, e.g. 0.5 (see\nbelow). Then more.") == "c·P, e.g. 0.5 (see below)."
    assert first_sentence("One.\n\nTwo.") == "One."
