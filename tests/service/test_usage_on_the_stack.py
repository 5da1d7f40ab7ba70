"""What Mull says a search has cost, against the engines' own counters."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import AnyHttpUrl

from service.engines.fleet import Fleet
from service.engines.policy import VllmPolicy
from service.engines.reward import VllmScorer
from service.library import solve
from service.search.ports import Bill, Chunk
from service.settings_file import load_settings
from strategies.registry import STRATEGIES

HELD_OUT = Path(__file__).parents[2] / "models" / "heldout.jsonl"

pytestmark = pytest.mark.stack


def engine_tokens(url: str) -> tuple[int, int]:
    """Prompt and generated tokens that a vLLM server has counted since its start."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    prompt, generated = (
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"vllm:{name}_total{{"))
        for name in ("prompt_tokens", "generation_tokens")
    )
    return int(prompt), int(generated)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_usage_is_what_the_engines_counted(stack: Any, strategy: str) -> None:
    """Every token of a search that ran to its end: generated, read as prompt, submitted for scoring."""
    problem = json.loads(HELD_OUT.read_text().splitlines()[300])["problem"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": problem}],
        "seed": uuid.uuid4().int % 2**62,
        "mull": {"strategy": strategy},
    }
    policy_before, reward_before = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    usage = httpx.post(f"{stack.gateway_url}/v1/chat/completions", json=body, timeout=60).json()["mull"]["usage"]
    policy_after, reward_after = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    policy, reward = usage["policy"], usage["reward"]
    assert policy["estimated"] is False
    assert policy_after[0] - policy_before[0] == policy["prompt"]
    assert policy_after[1] - policy_before[1] == policy["kept"] + policy["discarded"]
    assert reward_after[0] - reward_before[0] == reward["submitted"]
    assert reward_after[1] - reward_before[1] == reward["generated"]


class Noting(VllmPolicy):
    """Keeps the bills of its streams: who cancels a search gets no result to read them from."""

    bills: list[Bill]

    def stream(self, prompt: tuple[int, ...], *, bill: Bill, **how: Any) -> AsyncGenerator[Chunk, None]:
        self.bills.append(bill)
        return super().stream(prompt, bill=bill, **how)


class NotingScorer(VllmScorer):
    """Keeps the bills of its calls."""

    bills: list[Bill]

    async def score(self, question: str, steps: Sequence[str], first: int, bill: Bill) -> tuple[float, ...]:
        self.bills.append(bill)
        return await super().score(question, steps, first, bill)


async def ask(http: httpx.AsyncClient, gateway: str, problem: str, **mull: Any) -> dict[str, Any]:
    """Search over HTTP and return the usage."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": problem}],
        "seed": uuid.uuid4().int % 2**62,
        "mull": mull,
    }
    response = await http.post(f"{gateway}/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    usage: dict[str, Any] = response.json()["mull"]["usage"]
    return usage


async def test_usage_adds_up_over_a_mixed_load_with_cancellations(stack: Any) -> None:
    """Searches that stop early, at their deadline or at a budget, and clients that go: every token is on a bill."""
    rng = random.Random(0)
    problems = [json.loads(line)["problem"] for line in HELD_OUT.read_text().splitlines()[300:306]]
    configured = load_settings(None, stack.environment)
    policy_settings = configured.policies["tiny-policy"].model_copy(update={"url": AnyHttpUrl(stack.policy_url)})
    reward_settings = configured.reward_models["tiny-prm"].model_copy(update={"url": AnyHttpUrl(stack.reward_url)})
    clients = AsyncExitStack()
    policy = Noting(policy_settings, await clients.enter_async_context(Fleet(policy_settings)))
    scorer = NotingScorer(reward_settings, await clients.enter_async_context(Fleet(reward_settings)))
    policy.bills, scorer.bills = [], []
    best = {"name": "best_of_n", "samples": 16}
    vote = {"name": "majority_vote", "samples": 24}

    async def leave(problem: str, strategy: dict[str, Any]) -> None:
        search = solve(problem, policy=policy, reward=scorer, strategy=strategy, seed=rng.randrange(2**40))
        searching = asyncio.create_task(search)
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching

    policy_before, reward_before = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    async with clients, httpx.AsyncClient(timeout=60) as http:
        url = stack.gateway_url
        *_, early, best_early, budget, tree = await asyncio.gather(
            leave(problems[0], vote),
            leave(problems[1], best),
            leave(problems[2], best),
            leave(problems[2], {"name": "beam_search"}),
            ask(http, url, problems[3], strategy=vote, budget={"parallel": 6}),
            ask(http, url, problems[4], strategy=best, score={"select": "best"}, budget={"parallel": 4}),
            ask(http, url, problems[5], strategy=best, budget={"policy_tokens": 700}),
            ask(http, url, problems[4], strategy={"name": "mcts", "parallel": 8}, budget={"policy_tokens": 900}),
        )
        # By itself: at its deadline a search has no time to wait for a machine that is busy with others.
        deadline = await ask(http, url, problems[5], strategy={**best, "samples": 32}, budget={"deadline_ms": 1000})
    policy_after, reward_after = engine_tokens(stack.policy_url), engine_tokens(stack.reward_url)
    told = [early, best_early, deadline, budget, tree]
    assert all(bill.exact for bill in (*policy.bills, *scorer.bills))
    assert [usage for usage in told if usage["policy"]["estimated"] or usage["reward"]["estimated"]] == []
    generated = sum(u["policy"]["kept"] + u["policy"]["discarded"] for u in told) + sum(
        b.generated for b in policy.bills
    )
    assert policy_after[1] - policy_before[1] == generated
    prompt = sum(u["policy"]["prompt"] for u in told) + sum(b.prompt for b in policy.bills)
    assert policy_after[0] - policy_before[0] == prompt
    submitted = sum(u["reward"]["submitted"] for u in told) + sum(b.prompt for b in scorer.bills)
    assert reward_after[0] - reward_before[0] == submitted
    read = sum(u["reward"]["generated"] for u in told) + sum(b.generated for b in scorer.bills)
    assert reward_after[1] - reward_before[1] == read
    assert budget["policy"]["kept"] + budget["policy"]["discarded"] <= 700
