"""What a model's name and `reasoning_effort` buy, as the configuration says."""

from typing import Any

import httpx
import pytest
from fake_workers import FakeWorkers, settings
from pydantic import ValidationError

from service.errors import InvalidRequest, UnknownModel
from service.gateway.app import create_app
from service.gateway.plan import Plan, plan
from service.gateway.schema import ChatAsk
from service.gateway.score_ask import score_plan
from service.settings import Settings
from service.settings_file import plain
from strategies.beam_search import BeamSearch
from strategies.best_of_n import BestOfN
from strategies.sample import SampleOne
from strategies.spec import ScoreSpec

QUESTION = [{"role": "user", "content": "1+1?"}]
ALIASES: dict[str, Any] = {
    "tiny-high": {"effort": "high"},
    "tiny-beam": {
        "strategy": {"name": "beam_search", "beams": 4},
        "score": {"steps": "min", "select": "best"},
        "budget": {"policy_tokens": 5000, "deadline_ms": 9000},
    },
}


def config(**model: Any) -> Settings:
    """One model, `tiny`, with more fields."""
    return settings(models={"tiny": {"policy": "p", "reward": "r", **model}})


def planned(made: Settings, model: str = "tiny", **fields: Any) -> Plan:
    """Plan a chat with one of its names."""
    return plan({"model": model, "messages": QUESTION, **fields}, ChatAsk, made)


def test_an_effort_buys_any_strategy() -> None:
    """With its parameters, its scores and its budget; a request may only lower that."""
    effort = {
        "strategy": {"name": "beam_search", "beams": 8},
        "score": {"steps": "prod", "select": "best"},
        "budget": {"policy_tokens": 3000},
    }
    made = config(efforts={"high": effort})
    request = planned(made, reasoning_effort="high").request
    assert request.strategy == BeamSearch(beams=8)
    assert request.score == ScoreSpec(steps="prod", select="best")
    assert request.budget.policy_tokens == 3000
    more = planned(made, reasoning_effort="high", mull={"budget": {"policy_tokens": 9000, "parallel": 2}})
    assert (more.request.budget.policy_tokens, more.request.budget.parallel) == (3000, 2)
    less = planned(made, reasoning_effort="high", mull={"budget": {"policy_tokens": 900}})
    assert less.request.budget.policy_tokens == 900


def test_an_alias_is_its_model_searched_in_its_way() -> None:
    """The request is the model's own, so that their results are shared; the client keeps the name it asked for."""
    made = config(aliases=ALIASES)
    high = planned(made, "tiny-high")
    assert high.name == "tiny-high"
    assert high.request == planned(made, reasoning_effort="high").request
    beam = planned(made, "tiny-beam")
    assert beam.request.strategy == BeamSearch(beams=4)
    assert beam.request.score == ScoreSpec(steps="min", select="best")
    assert (beam.request.budget.policy_tokens, beam.deadline_s) == (5000, 9)


@pytest.mark.parametrize(
    "fields", [{"reasoning_effort": "low"}, {"mull": {"strategy": "sample"}}, {"mull": {"score": {"select": "best"}}}]
)
def test_an_alias_says_how_to_search_by_itself(fields: dict[str, Any]) -> None:
    """Another way is refused, with the model's own name to ask for."""
    with pytest.raises(InvalidRequest, match="already says") as refused:
        planned(config(aliases=ALIASES), "tiny-high", **fields)
    assert "'tiny'" in refused.value.hint


def test_an_alias_can_be_asked_for_scores() -> None:
    """Its model's reward model judges."""
    asked = {"model": "tiny-high", "question": "1+1?", "solutions": ["2"]}
    assert score_plan(asked, config(aliases=ALIASES)).request.model == "tiny"


async def test_an_answer_has_the_name_that_was_asked_for() -> None:
    """As every server's does."""
    app = create_app(config(aliases=ALIASES), FakeWorkers())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mull") as http:
        answer = await http.post("/v1/chat/completions", json={"model": "tiny-high", "messages": QUESTION})
    assert answer.json()["model"] == "tiny-high"
    assert answer.json()["mull"]["strategy"] == "best_of_n"


def test_unknown_names_are_told_the_aliases() -> None:
    """They can be asked for, too."""
    with pytest.raises(UnknownModel) as refused:
        planned(config(aliases=ALIASES), "huge")
    assert "tiny-high" in refused.value.hint


def test_an_effort_that_is_forwarded_goes_to_the_template() -> None:
    """The search is the default one, or the one that the request chooses."""
    made = config(effort="forward", default_effort="low")
    bare, asked = planned(made), planned(made, reasoning_effort="high")
    assert asked.request.strategy == bare.request.strategy == BestOfN(samples=4)
    assert (bare.request.chat_template_kwargs, asked.request.chat_template_kwargs) == ({}, {"reasoning_effort": "high"})
    chosen = planned(made, reasoning_effort="high", mull={"strategy": "sample"})
    assert chosen.request.strategy == SampleOne()
    assert chosen.request.chat_template_kwargs == {"reasoning_effort": "high"}


def test_an_effort_that_searches_does_not_go_to_the_template() -> None:
    """It has bought a search instead."""
    assert planned(config(), reasoning_effort="low").request.chat_template_kwargs == {}


def test_two_different_efforts_are_refused() -> None:
    """Where the effort is forwarded, the template's variable is the same thing."""
    made = config(effort="forward")
    variables: dict[str, Any] = {"chat_template_kwargs": {"reasoning_effort": "low"}}
    assert planned(made, reasoning_effort="low", **variables) == planned(made, **variables)
    with pytest.raises(InvalidRequest, match="differ"):
        planned(made, reasoning_effort="high", **variables)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"tiny": {"policy": "p", "aliases": {"fast": {}}}}, "either an effort or a strategy"),
        ({"tiny": {"policy": "p", "aliases": {"fast": {"effort": "low", "strategy": "greedy"}}}}, "either an effort"),
        ({"tiny": {"policy": "p", "aliases": {"fast": {"effort": "low", "score": {}}}}}, "score belongs to strategy"),
        ({"tiny": {"policy": "p", "efforts": {}, "aliases": {"fast": {"effort": "low"}}}}, "not in efforts"),
        ({"tiny": {"policy": "p", "efforts": {}, "default_effort": "low"}}, "default_effort"),
        ({"tiny": {"policy": "p", "aliases": {"tiny": {"effort": "low"}}}}, "another model has that name"),
        (
            {name: {"policy": "p", "aliases": {"fast": {"effort": "low"}}} for name in ("tiny", "small")},
            "another model has that name",
        ),
        ({"tiny": {"policy": "p", "efforts": {"low": {"strategy": "guess"}}}}, "guess"),
        ({"tiny": {"policy": "p", "efforts": {"low": {"strategy": {"name": "greedy", "samples": 4}}}}}, "samples"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(models: dict[str, Any], says: str) -> None:
    """At the start, not at the first request."""
    with pytest.raises(ValidationError, match=says):
        settings(models=models)


def test_ways_survive_the_way_into_a_file_and_back() -> None:
    """`mull up` writes the configuration down for the gateway."""
    made = config(aliases=ALIASES, effort="forward")
    assert Settings.model_validate(plain(made, reveal=True)) == made
