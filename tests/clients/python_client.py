"""Items of the conformance list, asked with the official Python client."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import reduce
from typing import Any

import openai
from openai.types import Completion

Outcome = dict[str, Any]

_CLASSES = {"APITimeoutError": "timeout"}
"""What the two clients name differently."""


async def ask(item: Mapping[str, Any], url: str) -> Outcome:
    """Return what came of one item: `reply`, `chunks` or `error`, with `headers` where the item wants them raw."""
    limit_s = item.get("timeout_s", 60.0)
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key=item.get("key", "none"), timeout=limit_s, max_retries=item.get("max_retries", 0)
    ) as client:
        asking = asyncio.create_task(_answer(client, item))
        if "cancel_after_s" in item:
            asyncio.get_running_loop().call_later(item["cancel_after_s"], asking.cancel)
        try:
            return await asking
        except asyncio.CancelledError:
            return {"error": {"class": "cancelled"}}
        except openai.APIError as error:
            return {"error": _told(error)}


async def _answer(client: openai.AsyncOpenAI, item: Mapping[str, Any]) -> Outcome:
    if "job" in item:
        return await _job(client, item)
    *resources, name = item["call"].split(".")
    resource = reduce(getattr, resources, client)
    plain = getattr(resource, name)
    keywords = {**_sorted(plain, item.get("body", {})), "extra_headers": item.get("headers")}
    if item.get("raw"):
        response = await getattr(resource.with_raw_response, name)(*item.get("args", ()), **keywords)
        return {"reply": _plain(response.parse()), "headers": dict(response.headers)}
    answered = await plain(*item.get("args", ()), **keywords)
    if isinstance(answered, openai.AsyncStream):
        async with answered:
            return {"chunks": [_plain(chunk, piece=True) async for chunk in answered]}
    return {"reply": _plain(answered)}


async def _job(client: openai.AsyncOpenAI, item: Mapping[str, Any]) -> Outcome:
    """Return what comes of a job that is cancelled, or followed to its end and read once more from the middle."""
    responses = client.responses
    made = await responses.create(**_sorted(responses.create, {**item["body"], "background": True}))
    if item["job"] == "cancel":
        cancelled = await responses.cancel(made.id)
        return {"reply": {"made": made.status, "cancelled": cancelled.status}}
    told = [event async for event in await responses.retrieve(made.id, stream=True)]
    middle = told[len(told) // 2].sequence_number
    rest = [event async for event in await responses.retrieve(made.id, stream=True, starting_after=middle)]
    done = await responses.retrieve(made.id)
    texts = [event.delta for event in told if event.type == "response.output_text.delta"]
    return {
        "reply": {
            "made": made.status,
            "first": told[0].type,
            "last": told[-1].type,
            "resumed": rest == [event for event in told if event.sequence_number > middle],
            "status": done.status,
            "text": done.output_text,
            "streamed": "".join(texts) == done.output_text,
        }
    }


def _sorted(method: Callable[..., Awaitable[Any]], body: Mapping[str, Any]) -> dict[str, Any]:
    """Give the method what it knows, and the rest as `extra_body`, as its users do."""
    known = inspect.signature(method).parameters
    extra = {key: value for key, value in body.items() if key not in known}
    return {key: value for key, value in body.items() if key in known} | {"extra_body": extra or None}


def _plain(answered: Any, *, piece: bool = False) -> dict[str, Any]:
    """Return plain data; raises where it is not what the client's types promise (it does not check by itself)."""
    data: dict[str, Any] = answered.model_dump(mode="json")
    # The pieces of a completion have the type of a whole one, whose reason to finish is never null.
    if not (piece and isinstance(answered, Completion)):
        type(answered).model_validate(data)
    return data


def _told(error: openai.APIError) -> Outcome:
    name = type(error).__name__
    told = {"class": _CLASSES.get(name, name), "type": error.type, "code": error.code, "param": error.param}
    if isinstance(error, openai.APIStatusError):
        told |= {"status": error.status_code, "request_id": error.request_id}
    return told
