"""POST /v1/score on a real reward model. Every test asks its own question, so that no score is remembered."""

import asyncio
import random
import time
from typing import Any

import httpx
import pytest
from pydantic import AnyHttpUrl

from service.engines.fleet import Fleet
from service.engines.reward import VllmScorer
from service.search.ports import Bill
from service.settings_file import load_settings

pytestmark = pytest.mark.stack

LIMIT_S = 60.0
STEPS = ["Bo has 12 pens.", "Gus has 12 + 5 = 17 pens.", "The answer is \\boxed{17}"]
WRONG = [STEPS[0], "Gus has 12 - 5 = 7 pens.", "The answer is \\boxed{7}"]


@pytest.fixture
def http(stack: Any) -> httpx.Client:
    """A client of the running gateway."""
    return httpx.Client(base_url=stack.gateway_url, timeout=LIMIT_S)


def question() -> str:
    """A question that nobody has asked before, of always the same length."""
    number = random.randrange(10**17, 10**18)
    return f"Bo has 12 pens. Gus has {number} more pens than Bo. How many pens does Gus have?"


def ask(**fields: Any) -> dict[str, Any]:
    """The body of a request."""
    return {"model": "tiny", "question": question(), **fields}


def engine_tokens(url: str) -> tuple[int, int]:
    """Prompt and generated tokens that a vLLM server has counted since its start."""
    prompt, generated = (_sum(url, (f"vllm:{name}_total{{",)) for name in ("prompt_tokens", "generation_tokens"))
    return int(prompt), int(generated)


def running(url: str) -> float:
    """How many requests a vLLM server has running or waiting."""
    return _sum(url, ("vllm:num_requests_running{", "vllm:num_requests_waiting{"))


def _sum(url: str, names: tuple[str, ...]) -> float:
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


async def directly(stack: Any, question: str, solutions: list[list[str]]) -> list[tuple[float, ...]]:
    """The scores as the reward model's client gives them."""
    settings = load_settings(None, stack.environment).reward_models["tiny-prm"]
    settings = settings.model_copy(update={"url": AnyHttpUrl(stack.reward_url)})
    scorer = VllmScorer(settings, Fleet(settings))
    try:
        return [await scorer.score(question, steps, 0, Bill()) for steps in solutions]
    finally:
        await scorer.aclose()


@pytest.mark.parametrize("given", ["steps", "solutions"])
def test_scores_are_those_of_the_reward_model(stack: Any, http: httpx.Client, given: str) -> None:
    """One per step and solution, whether the steps are given or cut from a text."""
    solutions = [STEPS, WRONG]
    body = ask(**{given: solutions if given == "steps" else ["\n\n".join(steps) for steps in solutions]})
    answer = http.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [[step.strip() for step in entry["steps"]] for entry in data] == solutions
    for entry, scores in zip(data, asyncio.run(directly(stack, body["question"], solutions)), strict=True):
        assert entry["scores"] == pytest.approx(scores, abs=1e-5)


def test_usage_is_what_the_engine_counted_and_beginnings_are_shared(stack: Any, http: httpx.Client) -> None:
    """Two solutions of three steps with the same first one, sent twice over, are five requests."""
    before = engine_tokens(stack.reward_url)
    answer = http.post("/v1/score", json=ask(steps=[STEPS, WRONG, STEPS])).json()
    after = engine_tokens(stack.reward_url)
    usage = answer["usage"]
    assert (after[0] - before[0], after[1] - before[1]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert answer["mull"]["usage"]["reward"]["generated"] == 5
    assert answer["mull"]["usage"]["reward"]["estimated"] is False
    assert answer["data"][0]["scores"] == answer["data"][2]["scores"]
    assert answer["data"][0]["scores"][0] == answer["data"][1]["scores"][0]


def test_a_score_is_paid_once(http: httpx.Client) -> None:
    """The same request again gets the same scores out of the memory, for no token."""
    body = ask(steps=[STEPS])
    first, again = (http.post("/v1/score", json=body).json() for _ in range(2))
    assert again["data"] == first["data"]
    assert (first["usage"]["total_tokens"] > 0, again["usage"]["total_tokens"]) == (True, 0)
    assert again["mull"]["usage"]["reward"]["remembered"] == len(STEPS)


def test_a_budget_just_large_enough_is_kept(http: httpx.Client) -> None:
    """What the error says that scoring takes is what it takes."""
    limited = {"mull": {"budget": {"reward_tokens": 1}}}
    refused = http.post("/v1/score", json=ask(steps=[STEPS, WRONG], **limited))
    assert refused.status_code == 400
    needed = int(refused.json()["error"]["message"].split()[2])
    limited["mull"]["budget"]["reward_tokens"] = needed
    answer = http.post("/v1/score", json=ask(steps=[STEPS, WRONG], **limited))
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == needed


def test_too_long_is_told_before_the_engine_is_asked(stack: Any, http: httpx.Client) -> None:
    """The second solution does not fit the context: it is named with the limit, and the first is not scored either."""
    before = engine_tokens(stack.reward_url)
    response = http.post("/v1/score", json=ask(steps=[STEPS, [*STEPS, "12 + 5 = 17 " * 500]]))
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("QuestionTooLong", "steps[1]")
    assert "512 in all" in error["message"]
    assert engine_tokens(stack.reward_url) == before


def test_odd_texts_have_scores(stack: Any, http: httpx.Client) -> None:
    """Unicode, the words of the reward model's own form, empty steps and zero bytes: scored as they stand."""
    steps = ["½ \U0001f600 \u202e 六", "<good> <bad> <eos>", "", "\x00 \r\n {{ 7*7 }}"]
    body = ask(steps=[steps])
    answer = http.post("/v1/score", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["steps"] == steps
    (expected,) = asyncio.run(directly(stack, body["question"], [[step.strip() for step in steps]]))
    assert answer.json()["data"][0]["scores"] == pytest.approx(expected, abs=1e-5)


async def test_fifty_at_once_are_all_scored(stack: Any) -> None:
    """None is lost or mixed up with another, and all bills together are what the engine counted."""
    bodies = [ask(steps=[STEPS, WRONG]) for _ in range(50)]
    before = engine_tokens(stack.reward_url)
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=LIMIT_S) as http:
        answers = await asyncio.gather(*[http.post("/v1/score", json=body) for body in bodies])
    after = engine_tokens(stack.reward_url)
    assert [answer.status_code for answer in answers] == [200] * 50
    told = [answer.json() for answer in answers]
    assert after[0] - before[0] == sum(answer["usage"]["prompt_tokens"] for answer in told)
    right, wrong = await directly(stack, bodies[7]["question"], [STEPS, WRONG])
    assert told[7]["data"][0]["scores"] == pytest.approx(right, abs=1e-5)
    assert told[7]["data"][1]["scores"] == pytest.approx(wrong, abs=1e-5)


def many() -> dict[str, Any]:
    """A request that takes the engine some time."""
    return ask(steps=[[f"Bo has {number} pens.", *STEPS] for number in range(200)])


def test_at_the_deadline_nothing_half_is_returned(http: httpx.Client) -> None:
    """A deadline that cannot be kept is a 504 that says so."""
    response = http.post("/v1/score", json=many() | {"mull": {"budget": {"deadline_ms": 100}}})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "NoAnswer"
    assert "deadline" in response.json()["error"]["message"]


def test_client_that_leaves_frees_the_engine(stack: Any, http: httpx.Client) -> None:
    """Soon after a client has gone, the reward model works on nothing more for it."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{stack.gateway_url}/v1/score", json=many(), timeout=0.4)
    deadline = time.monotonic() + 3
    while (left := running(stack.reward_url)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == 0
    assert 'endpoint="score",status="499"' in http.get("/metrics").text
