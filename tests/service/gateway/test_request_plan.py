from typing import Any

import pytest
from fake_workers import settings

from service.gateway.plan import Plan, plan
from service.gateway.schema import ChatAsk, CompletionAsk
from service.settings import Settings
from strategies.best_of_n import BestOfN
from strategies.sample import Greedy, SampleOne


def planned(config: Settings | None = None, **fields: Any) -> Plan:
    """Plan a chat about 1+1 with more fields."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], **fields}
    return plan(body, ChatAsk, config or settings())


def test_bare_request_is_one_sample() -> None:
    """A request that says nothing is one sample with the policy's own settings and seed 0."""
    made = planned()
    assert made.request.strategy == SampleOne()
    assert made.request.sampling.temperature is None
    assert made.request.max_completion_tokens is None
    assert (made.request.seed, made.request.n) == (0, 1)
    assert made.warnings == ()


def test_default_effort_is_for_requests_that_say_nothing() -> None:
    """The configuration's default effort decides what a bare request buys."""
    config = settings(models={"tiny": {"policy": "p", "reward": "r", "default_effort": "low"}})
    assert planned(config).request.strategy == BestOfN(samples=4)
    assert planned(config, mull={"strategy": "sample"}).request.strategy == SampleOne()


@pytest.mark.parametrize(
    ("effort", "strategy"),
    [("none", Greedy()), ("minimal", SampleOne()), ("low", BestOfN(samples=4)), ("medium", BestOfN(samples=16))],
)
def test_reasoning_effort_buys_a_search(effort: str, strategy: object) -> None:
    """OpenAI's own field chooses how much is searched."""
    assert planned(reasoning_effort=effort).request.strategy == strategy


def test_bare_strategy_name_has_its_defaults() -> None:
    """A strategy may be given by its name alone."""
    assert planned(mull={"strategy": "best_of_n"}).request.strategy == BestOfN()


def test_evaluation_harness_gets_a_search() -> None:
    """Temperature 0 with a seed, as lm-evaluation-harness sends it, does not make sixteen copies."""
    made = planned(
        messages=[{"role": "user", "content": "1+1?", "type": "text"}],
        max_tokens=256,
        temperature=0,
        stop=["Question:", "</s>"],
        seed=1234,
        mull={"strategy": "best_of_n"},
    )
    assert made.request.sampling.temperature is None
    assert made.request.seed == 1234
    assert made.request.sampling.stop == ("Question:", "</s>")
    assert made.request.max_completion_tokens == 256
    assert "temperature" in made.warnings[0]


def test_temperature_zero_is_kept_for_one_sample() -> None:
    """With one candidate temperature 0 is greedy decoding, as asked."""
    made = planned(temperature=0)
    assert made.request.sampling.temperature == 0
    assert made.warnings == ()


def test_temperature_above_zero_is_kept() -> None:
    """A search samples at the temperature the client asked for."""
    assert planned(temperature=0.7, reasoning_effort="low").request.sampling.temperature == 0.7


OFF: list[dict[str, Any]] = [
    {"stream": False},
    {"stream": None, "logprobs": None, "tools": None, "stop": None, "temperature": None, "n": None, "user": None},
    {"logprobs": False, "top_logprobs": 0},
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
    {"response_format": {"type": "text"}},
    {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
    {"n": 1, "service_tier": "auto", "store": False, "modalities": ["text"]},
    {"user": "someone", "metadata": {"run": "7"}},
    {"messages": [{"role": "user", "content": "1+1?", "name": "Ann", "refusal": None, "tool_calls": []}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "1+"}, {"type": "text", "text": "1?"}]}]},
    {"max_tokens": None, "max_completion_tokens": None},
]


@pytest.mark.parametrize("fields", OFF)
def test_fields_that_ask_for_nothing_change_nothing(fields: dict[str, Any]) -> None:
    """What a client sends only to say "off", or in another spelling, is the same request."""
    assert planned(**fields).request == planned().request


def test_both_token_caps_may_say_the_same() -> None:
    """max_tokens is another name of max_completion_tokens."""
    assert planned(max_tokens=9).request == planned(max_completion_tokens=9).request
    assert planned(max_tokens=9).request == planned(max_tokens=9, max_completion_tokens=9).request


def test_developer_speaks_as_system() -> None:
    """OpenAI's role `developer`, which chat templates do not know, becomes `system`."""
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    assert [m.role for m in planned(messages=messages).request.messages] == ["system", "user"]


def test_budget_and_deadline() -> None:
    """Limits go to the search; without a deadline the server's default holds."""
    assert planned().deadline_s == 120
    made = planned(mull={"budget": {"policy_tokens": 99, "deadline_ms": 1500, "parallel": 2}})
    assert made.deadline_s == 1.5
    assert (made.request.budget.policy_tokens, made.request.budget.parallel) == (99, 2)


def test_completion_is_continued_as_it_is() -> None:
    """A prompt reaches the search without a chat around it."""
    made = plan({"model": "bare", "prompt": "1+1="}, CompletionAsk, settings())
    assert made.request.prompt == "1+1="
    assert made.request.messages == ()
