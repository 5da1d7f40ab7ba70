"""Requests to try and answers to expect, for /openapi.json; a test sends all of the requests."""

from collections.abc import Mapping
from typing import Any

_QUESTION = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
_CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": _QUESTION}]}
_SOLUTION = "Ann has 12 + 5 = 17 pens.\n\nThe answer is \\boxed{17}."
_REWARD = {"submitted": 96, "cached": 64, "generated": 8, "remembered": 0, "estimated": False}
_POLICY = {"kept": 22, "discarded": 68, "prompt": 108, "cached": 64, "estimated": False}
_USAGE = {
    "prompt_tokens": 27,
    "completion_tokens": 90,
    "total_tokens": 117,
    "completion_tokens_details": {"reasoning_tokens": 68},
}
_MULL = {
    "strategy": "best_of_n",
    "answer": "17",
    "confidence": 0.75,
    "stopped_by": "completed",
    "usage": {"policy": _POLICY, "reward": _REWARD},
    "warnings": [],
    "votes": [{"answer": "17", "key": "17", "weight": 2.1, "share": 0.75, "candidates": 3}],
    "cached": False,
    "cache": "miss",
    "spent": {"policy_tokens": 90, "reward_tokens": 104},
    "trace_id": "5d3c",
    "seconds": 0.412,
}
_CHOICE = {"index": 0, "logprobs": None, "finish_reason": "stop"}

REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {
        "How much to search, in OpenAI's words": _CHAT | {"reasoning_effort": "low"},
        "Best of 8 under a budget": _CHAT
        | {
            "mull": {
                "strategy": {"name": "best_of_n", "samples": 8},
                "budget": {"policy_tokens": 4000, "deadline_ms": 30_000},
                "include": ["candidates"],
            }
        },
        "A search over steps": _CHAT
        | {"mull": {"strategy": {"name": "beam_search", "beams": 4}, "include": ["trace"]}},
        "The two best distinct answers": _CHAT
        | {"n": 2, "mull": {"strategy": {"name": "majority_vote", "samples": 8}}},
        "As a stream": _CHAT | {"stream": True, "stream_options": {"include_usage": True}},
    },
    "/v1/completions": {
        "A text to be continued": {"model": "tiny", "prompt": _QUESTION, "max_tokens": 64},
        "A vote": {"model": "tiny", "prompt": _QUESTION, "mull": {"strategy": "majority_vote"}},
    },
    "/v1/responses": {
        "Answered at once": {"model": "tiny", "input": _QUESTION, "reasoning": {"effort": "low"}},
    },
    "/v1/score": {
        "Whole solutions": {"model": "tiny", "question": _QUESTION, "solutions": [_SOLUTION, "\\boxed{7}"]},
        "Given steps": {"model": "tiny", "question": _QUESTION, "steps": [_SOLUTION.split("\n\n")]},
    },
}
QUERIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/strategies": {"policy_tokens": 4000, "candidate_tokens": 256},
    "/v1/models/{id}": {"id": "tiny"},
    "/v1/traces/{id}": {"id": "5d3c"},
    "/v1/responses/{id}": {"id": "resp_5d3c"},
    "/v1/responses/{id}/cancel": {"id": "resp_5d3c"},
}
ANSWERS: Mapping[str, Any] = {
    "/v1/chat/completions": {
        "id": "chatcmpl-5d3c",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "tiny",
        "choices": [_CHOICE | {"message": {"role": "assistant", "content": _SOLUTION, "refusal": None}}],
        "usage": _USAGE,
        "mull": _MULL,
    },
    "/v1/completions": {
        "id": "cmpl-5d3c",
        "object": "text_completion",
        "created": 1_790_000_000,
        "model": "tiny",
        "choices": [_CHOICE | {"text": _SOLUTION}],
        "usage": _USAGE,
        "mull": _MULL,
    },
    "/v1/score": {
        "id": "score-5d3c",
        "object": "list",
        "created": 1_790_000_000,
        "model": "tiny",
        "data": [{"index": 0, "object": "score", "steps": _SOLUTION.split("\n\n"), "scores": [0.97, 0.91]}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 2, "total_tokens": 62},
        "mull": {"reads": "step", "usage": {"reward": _REWARD}, "trace_id": "5d3c", "seconds": 0.061},
    },
    "/v1/traces/{id}": {
        "id": "5d3c",
        "object": "mull.trace",
        "records": [{"record": "stopped", "reason": "completed", "at": 0.398}],
    },
    "/healthz": {"alive": True},
    "/readyz": {"ready": True, "cache": "on"},
}
STREAM = """\
data: {"id":"chatcmpl-5d3c","object":"chat.completion.chunk","created":1790000000,"model":"tiny",\
"choices":[{"index":0,"delta":{"content":"17"},"logprobs":null,"finish_reason":null}]}

data: [DONE]

"""
