from typing import Any

import pytest
from fake_workers import settings

from service.errors import InvalidRequest
from service.gateway.plan import Plan, plan
from service.gateway.responses_ask import response_plan, responses_ask
from service.gateway.schema import ChatAsk

SETTINGS = settings(jobs={"deadline_ms": 7_200_000, "default_deadline_ms": 900_000})


def planned(**fields: Any) -> Plan:
    """The search for a body."""
    return response_plan(responses_ask({"model": "tiny", "input": "1+1?", **fields}), SETTINGS)


def chat(**fields: Any) -> Plan:
    """The search for the body of a chat."""
    return plan({"model": "tiny", "messages": [{"role": "user", "content": "1+1?"}], **fields}, ChatAsk, SETTINGS)


@pytest.mark.parametrize(
    ("response", "same"),
    [
        ({}, {}),
        ({"max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3}, None),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"mull": {"strategy": {"name": "best_of_n", "samples": 3}, "include": ["candidates"]}}, None),
        (
            {"instructions": "Be brief."},
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]},
        ),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "integer"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "integer"}},
                }
            },
        ),
        ({"tools": [], "tool_choice": "auto", "truncation": "disabled", "previous_response_id": None}, {}),
        ({"store": False, "user": "me", "metadata": {"a": "b"}, "include": []}, {}),
    ],
)
def test_a_response_is_searched_like_a_chat(response: dict[str, Any], same: dict[str, Any] | None) -> None:
    """Each field has its counterpart there; what has none asks for nothing."""
    if same is None:
        same = {"max_completion_tokens" if k == "max_output_tokens" else k: v for k, v in response.items()}
    assert planned(**response) == chat(**same)


def test_an_earlier_answer_may_be_sent_back() -> None:
    """The items of a response's output are taken as they were, without what was told of the search."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "1+1"}, {"type": "input_text", "text": "?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "2", "annotations": [], "logprobs": []}],
        },
        {"role": "user", "content": "And 2+2?"},
    ]
    said = [(message.role, message.content) for message in planned(input=items).request.messages]
    assert said == [("user", "1+1?"), ("assistant", "2"), ("user", "And 2+2?")]


def test_a_job_may_take_longer() -> None:
    """In the background the limits of jobs hold, otherwise those of all requests."""
    long = {"mull": {"budget": {"deadline_ms": 7_200_000}}}
    assert planned(background=True, **long).deadline_s == 7200
    assert planned(background=True).deadline_s == 900
    with pytest.raises(InvalidRequest, match="600000 ms"):
        planned(**long)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": [{"role": "assistant", "content": "2"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "2"}]}, "input[0].role"),
        ({"model": "other"}, "model"),
        ({"reasoning": {"effort": "xhigh"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "low"}, "mull": {"strategy": "greedy"}}, "reasoning.effort"),
        ({"background": True, "store": False}, "store"),
        ({"store": True}, "store"),
        ({"stream": True}, "stream"),
        ({"background": "yes"}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"messages": []}, "messages"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"text": {"format": {"type": "other"}}}, "text.format"),
        ({"mull": {"samples": 3}}, "mull.samples"),
        ({"mull": {"progress": "events"}}, "mull.progress"),
        ({"mull": {"dry_run": True}}, "mull.dry_run"),
        ({"background": True, "mull": {"budget": {"deadline_ms": 7_200_001}}}, "mull.budget.deadline_ms"),
    ],
)
def test_what_is_not_served_is_refused(fields: dict[str, Any], param: str) -> None:
    """Nothing is ignored: the error names the field, in the words of this endpoint."""
    with pytest.raises(InvalidRequest) as refused:
        planned(**fields)
    assert (refused.value.param or "").startswith(param)
