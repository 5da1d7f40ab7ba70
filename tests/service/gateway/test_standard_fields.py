"""Every field of OpenAI's and of vLLM's: honoured, passed on, without effect, or refused with a reason."""

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from fake_workers import settings
from openai.types import completion_create_params as openai_completion
from openai.types.chat import completion_create_params as openai_chat

from service.errors import InvalidRequest
from service.gateway.fields import PASSED_ON, WITHOUT_EFFECT, field_rules
from service.gateway.plan import Plan, plan
from service.gateway.schema import ChatAsk, CompletionAsk
from service.gateway.unsupported import UNSERVED
from service.settings import Settings

TREE = {"strategy": "beam_search"}
PASSED: dict[str, Any] = {
    "presence_penalty": 0.5,
    "frequency_penalty": -1,
    "repetition_penalty": 1.1,
    "logit_bias": {"7": -100, "12": 2.5},
    "allowed_token_ids": [1, 2],
    "bad_words": ["pen", "two words"],
    "min_tokens": 5,
    "stop_token_ids": [7],
    "include_stop_str_in_output": True,
    "ignore_eos": True,
    "thinking_token_budget": 100,
}


def planned(config: Settings | None = None, **fields: Any) -> Plan:
    """Plan a chat about 1+1 with more fields."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], **fields}
    return plan(body, ChatAsk, config or settings())


def test_every_field_of_openais_is_known() -> None:
    """Its official client has no parameter of which the table says nothing."""
    chat = get_type_hints(openai_chat.CompletionCreateParamsNonStreaming)
    text = get_type_hints(openai_completion.CompletionCreateParamsNonStreaming)
    assert {*chat, "stream"} <= {*field_rules(ChatAsk)}
    assert {*text, "stream"} <= {*field_rules(CompletionAsk)}


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [("chat_completion", "ChatCompletionRequest", ChatAsk), ("completion", "CompletionRequest", CompletionAsk)],
)
def test_every_field_of_vllms_is_known(module: str, name: str, kind: type[ChatAsk | CompletionAsk]) -> None:
    """Its own server has no field of which the table says nothing."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(spec.origin).parent / "entrypoints" / "openai" / module / "protocol.py"
    (body,) = [node for node in ast.parse(source.read_text()).body if getattr(node, "name", "") == name]
    assert isinstance(body, ast.ClassDef)
    fields = [node.target.id for node in body.body if isinstance(node, ast.AnnAssign) and hasattr(node.target, "id")]
    assert {field for field in fields if not field.startswith("_")} <= {*field_rules(kind)}


@pytest.mark.parametrize("kind", [ChatAsk, CompletionAsk])
def test_every_rule_says_something(kind: type[ChatAsk | CompletionAsk]) -> None:
    """What a field does, or what to do instead of sending it; only OpenAI's plainest fields go without."""
    silent = {rule.name for rule in field_rules(kind).values() if not rule.says}
    assert silent <= {"model", "messages", "prompt"}


@pytest.mark.parametrize("field", PASSED)
def test_extras_are_passed_on(field: str) -> None:
    """What the engine is to know is in the search's request, which is also the key of the cache."""
    made = planned(None, **{field: PASSED[field]})
    assert made.request.sampling.model_dump(mode="json", include={field}) == {field: PASSED[field]}
    assert made.request.sampling.extras.told.keys() == {field}
    assert made.request != planned().request


def test_the_table_says_what_is_passed_on() -> None:
    """And nothing else is."""
    assert {*PASSED, "chat_template_kwargs"} == PASSED_ON


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "someone"},
        {"safety_identifier": "someone"},
        {"metadata": {"run": "7"}},
        {"prompt_cache_key": "k"},
        {"request_id": "r"},
        {"session_id": "s"},
        {"parallel_tool_calls": False},
    ],
)
def test_fields_without_effect_change_nothing(fields: dict[str, Any]) -> None:
    """They are taken, and the search is the same."""
    assert fields.keys() <= WITHOUT_EFFECT
    assert planned(**fields).request == planned().request


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 0, "frequency_penalty": 0.0, "repetition_penalty": 1},
        {"logit_bias": {}, "bad_words": [], "stop_token_ids": [], "stop": []},
        {"min_tokens": 0, "include_stop_str_in_output": False, "ignore_eos": False, "thinking_token_budget": -1},
        dict.fromkeys(PASSED) | {"chat_template_kwargs": None, "logprobs": None, "top_logprobs": None},
        {"chat_template_kwargs": {}, "logprobs": False, "top_logprobs": 0},
    ],
)
def test_values_that_ask_for_nothing_make_the_same_search(fields: dict[str, Any]) -> None:
    """Off is off, however it is said; a tree takes it, too."""
    assert planned(**fields).request == planned().request
    assert planned(mull=TREE, **fields).request == planned(mull=TREE).request


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 2.5},
        {"presence_penalty": False},
        {"frequency_penalty": "1"},
        {"repetition_penalty": 0},
        {"logit_bias": {"seven": 1}},
        {"logit_bias": {"7": 101}},
        {"logit_bias": {"07": 1}},
        {"logit_bias": [7]},
        {"allowed_token_ids": []},
        {"allowed_token_ids": [-1]},
        {"bad_words": [""]},
        {"bad_words": "pen"},
        {"bad_words": ["x"] * 65},
        {"min_tokens": -1},
        {"min_tokens": 1.5},
        {"stop_token_ids": [True]},
        {"stop_token_ids": 7},
        {"ignore_eos": 1},
        {"top_logprobs": 21},
        {"logprobs": 5},
        {"chat_template_kwargs": []},
        {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"return_tensors": "pt"}},
        {"chat_template_kwargs": {"not a name": 1}},
        {"chat_template_kwargs": {"x": "y" * 5000}},
        {"chat_template_kwargs": {"x": float("inf")}},
        {"chat_template_kwargs": {"x": [[[[[[[[[]]]]]]]]]}},
    ],
)
def test_wrong_values_are_refused_by_their_names(fields: dict[str, Any]) -> None:
    """The gateway finds them, not the engine."""
    (field,) = fields
    with pytest.raises(InvalidRequest) as refused:
        planned(**fields)
    assert (refused.value.param or "").startswith(field)


@pytest.mark.parametrize("field", sorted(UNSERVED))
def test_what_is_not_served_is_refused_with_a_reason(field: str) -> None:
    """Unless it means "off": then it is as if it had not been sent."""
    with pytest.raises(InvalidRequest) as refused:
        planned(None, **{field: "something else"})
    assert refused.value.param == field
    assert refused.value.hint
    for value in (None, *UNSERVED[field].accepted):
        assert planned(None, **{field: value}).request == planned().request


@pytest.mark.parametrize(
    "field",
    [
        "presence_penalty",
        "frequency_penalty",
        "bad_words",
        "min_tokens",
        "include_stop_str_in_output",
        "thinking_token_budget",
    ],
)
def test_single_steps_cannot_be_asked_for_what_one_request_counts(field: str) -> None:
    """The engine would begin anew with each step: a tree refuses, and says which strategies can."""
    with pytest.raises(InvalidRequest, match="single steps") as refused:
        planned(mull=TREE, **{field: PASSED[field]})
    assert refused.value.param == field


@pytest.mark.parametrize("field", ["repetition_penalty", "logit_bias", "allowed_token_ids", "stop_token_ids"])
def test_single_steps_take_what_holds_for_each_of_them(field: str) -> None:
    """What says something of every token can be said of every step."""
    assert planned(mull=TREE, **{field: PASSED[field]}).request.sampling.extras.told.keys() == {field}


def test_fewest_tokens_must_fit_the_cap() -> None:
    """The request's own cap, or the policy's."""
    with pytest.raises(InvalidRequest, match="may have 4 tokens"):
        planned(min_tokens=5, max_tokens=4)
    with pytest.raises(InvalidRequest, match="may have 512 tokens"):
        planned(min_tokens=600)


def test_logprobs_are_asked_for_in_two_forms() -> None:
    """A chat says whether and how many, a completion how many; 0 is the token's own alone."""
    assert planned().request.logprobs is None
    assert planned(logprobs=True).request.logprobs == 0
    assert planned(logprobs=True, top_logprobs=5).request.logprobs == 5
    text = {"model": "tiny", "prompt": "1+1="}
    assert plan(text | {"logprobs": 3}, CompletionAsk, settings()).request.logprobs == 3
    assert plan(text, CompletionAsk, settings()).request.logprobs is None


def test_top_logprobs_need_logprobs() -> None:
    """As with OpenAI."""
    with pytest.raises(InvalidRequest, match="for answers with `logprobs`"):
        planned(top_logprobs=2)


def test_more_log_probabilities_than_can_be_kept_are_refused() -> None:
    """All candidates' are kept until it is known which are returned."""
    wide = {"strategy": {"name": "majority_vote", "samples": 64}}
    assert planned(logprobs=True, max_tokens=1000, mull=wide).request.logprobs == 0
    with pytest.raises(InvalidRequest, match="64 candidates"):
        planned(logprobs=True, top_logprobs=20, max_tokens=2000, mull=wide)


def test_self_certainty_cannot_be_shown_at_once() -> None:
    """It reads more of them than there are texts."""
    judged = {"strategy": "best_of_n", "score": {"source": "self_certainty@5"}}
    with pytest.raises(InvalidRequest, match="self_certainty@5"):
        planned(logprobs=True, mull=judged)


def test_a_prompt_may_be_a_list_of_one() -> None:
    """Some clients send it so; two prompts are two requests."""
    alone = plan({"model": "tiny", "prompt": ["1+1="]}, CompletionAsk, settings())
    assert alone.request.prompt == "1+1="
    with pytest.raises(InvalidRequest, match="several requests"):
        plan({"model": "tiny", "prompt": ["1+1=", "2+2="]}, CompletionAsk, settings())
