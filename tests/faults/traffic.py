"""Mixed traffic: requests of every kind, what came of each, and whether that is an answer or an honest error."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import aiohttp

from service import errors

GRACE_S = 1.0
"""How much later than its deadline a request may end."""
PATIENCE_S = 20.0
"""How much longer a client waits before it says that a request hangs."""
JOB_DEADLINE_S = 120.0
"""What a job's search may take: a job waits for what is down, nobody waits for a job."""
JOB_LIMIT_S = 600.0
POLL_S = 0.2
PROBLEM = json.loads((Path(__file__).parents[2] / "models" / "heldout.jsonl").read_text().splitlines()[398])["problem"]
SAMPLES = 4
TOKENS = 400
"""Policy tokens for each sample of a limited search: more than one takes."""
DIRECT = ("plain", "limited", "streamed", "sample", "tree", "score")
STREAMS = ("streamed", "sample")
JOB = "job"
KINDS = (*DIRECT, JOB)
OVER = ("completed", "incomplete", "failed", "cancelled")

OK, BEST, LOST, HUNG, GONE = "ok", "best so far", "connection lost", "hangs", "gone"
"""Outcomes beside the errors' codes: an answer, one that its deadline has cut short, no word, none in time; for a job
that there is none of that name."""

_STATUS = {
    cls.code or cls.__name__: cls.status
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, errors.MullError)
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw: `status` of HTTP, `outcome` in a word, `seconds` from sending to the end.

    `wrong` says what is not as it must be. `job` is the name of a job that was accepted.
    """

    kind: str
    gateway: int
    status: int | None
    outcome: str
    seconds: float
    deadline_s: float
    wrong: str = ""
    job: str | None = None
    begun: float = 0.0

    @property
    def late(self) -> bool:
        """Whether it took longer than a request may."""
        return self.seconds > self.deadline_s + GRACE_S


def body(kind: str, seed: int, deadline_s: float, samples: int = SAMPLES) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request that is asked for the first time, as far as `seed` is new."""
    flat = {"name": "best_of_n", "samples": samples, "early_stop": "off"}
    budget: dict[str, Any] = {"deadline_ms": round((JOB_DEADLINE_S if kind == JOB else deadline_s) * 1000)}
    if kind == "score":
        # What has not been scored before: the number is part of every step.
        steps = [f"Ida has {seed} + {number} = {seed + number} cards ." for number in range(samples)]
        return "/v1/score", {"model": "tiny", "question": PROBLEM, "steps": [steps], "mull": {"budget": budget}}
    if kind == JOB:
        strategy = {"strategy": flat, "budget": budget}
        return "/v1/responses", {"model": "tiny", "input": PROBLEM, "seed": seed, "background": True, "mull": strategy}
    mull: dict[str, Any] = {"strategy": flat, "budget": budget, "include": ["candidates"]}
    fields: dict[str, Any] = {}
    match kind:
        case "brief":
            fields["max_completion_tokens"] = 16
        case "limited":
            budget["policy_tokens"] = TOKENS * samples
        case "streamed":
            mull["progress"], fields["stream"] = "events", True
        case "sample":
            mull["strategy"], fields["stream"] = "sample", True
        case "tree":
            mull["strategy"] = {"name": "beam_search", "beams": 2, "expansions": 2}
    messages = [{"role": "user", "content": PROBLEM}]
    return "/v1/chat/completions", {"model": "tiny", "messages": messages, "seed": seed, "mull": mull, **fields}


async def ask(
    http: aiohttp.ClientSession, url: str, gateway: int, kind: str, seed: int, deadline_s: float, samples: int = SAMPLES
) -> Seen:
    """Send one request to the gateway at `url`, and say what came of it."""
    path, sent = body(kind, seed, deadline_s, samples)
    begun = time.monotonic()
    status: int | None = None
    outcome, wrong, job = HUNG, "", None
    try:
        async with (
            asyncio.timeout(deadline_s + PATIENCE_S),
            http.post(url + path, json=sent, headers={"connection": "close"}) as reply,
        ):
            status = reply.status
            if reply.content_type == "text/event-stream":
                outcome, wrong = _stream(await _events(reply))
            else:
                said = json.loads(await reply.read())
                outcome, wrong, job = _whole(kind, status, said, sent)
    except TimeoutError:
        pass
    except aiohttp.ClientError:
        outcome = LOST
    except ValueError as error:
        wrong = f"is not JSON: {error}"
    return Seen(kind, gateway, status, outcome, time.monotonic() - begun, deadline_s, wrong, job, begun)


async def follow(http: aiohttp.ClientSession, urls: tuple[str, ...], seen: Seen) -> Seen:
    """Return what a job that was accepted came to, as all gateways tell it once all of them can."""
    path = f"/v1/responses/{seen.job}"
    due = time.monotonic() + JOB_LIMIT_S
    while time.monotonic() < due:
        everywhere = [await _get(http, url + path) for url in urls]
        told = everywhere[0]
        if any(_code(other) == "UnknownResponse" for other in everywhere):
            return _ended(seen, GONE, "")
        if all(other.get("status") in OVER for other in everywhere):
            types = await _types(http, f"{urls[0]}{path}?stream=true")
            if types is not None:
                return _judged(seen, everywhere, types)
        await asyncio.sleep(POLL_S)
    return _ended(seen, HUNG, f"has not ended after {JOB_LIMIT_S:g} s: {told.get('status')}")


def _judged(seen: Seen, everywhere: list[dict[str, Any]], types: list[str]) -> Seen:
    """Return the one result of a job that has ended, of which its events were of these `types`."""
    told, ends = everywhere[0], [type for type in types if type.removeprefix("response.") in OVER]
    outcome = OK if told["status"] == "completed" else told["status"]
    wrong = ""
    if any(other != told for other in everywhere):
        wrong = "is told in two ways"
    elif ends != [f"response.{told['status']}"] or types[-1] != ends[0]:
        wrong = f"has the endings {ends}"
    elif told["status"] == "failed":
        outcome = str(told["error"]["code"])
    elif not any(part for item in told["output"] for part in item.get("content", [])):
        wrong = "has no text"
    return _ended(seen, outcome, wrong)


def _ended(seen: Seen, outcome: str, wrong: str) -> Seen:
    return Seen(JOB, seen.gateway, seen.status, outcome, time.monotonic() - seen.begun, JOB_LIMIT_S, wrong, seen.job)


async def _get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Return a body, or nothing where none can be had now."""
    try:
        async with asyncio.timeout(PATIENCE_S), http.get(url, headers={"connection": "close"}) as reply:
            found: dict[str, Any] = json.loads(await reply.read())
            return found
    except (aiohttp.ClientError, TimeoutError):
        return {}


async def _types(http: aiohttp.ClientSession, url: str) -> list[str] | None:
    """Return the types of a job's events; `None` where they cannot be had now."""
    try:
        async with asyncio.timeout(PATIENCE_S), http.get(url, headers={"connection": "close"}) as reply:
            events = await _events(reply)
    except (aiohttp.ClientError, TimeoutError):
        return None
    return [json.loads(event)["type"] for event in events[:-1]] if events and events[-1] == "[DONE]" else None


def _code(told: Mapping[str, Any]) -> str | None:
    """Return the code of an error that came in the place of a job."""
    return None if "status" in told else (told.get("error") or {}).get("code")


async def _events(reply: aiohttp.ClientResponse) -> list[str]:
    lines = (await reply.read()).decode().split("\n")
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def _stream(events: list[str]) -> tuple[str, str]:
    """Return the outcome of a stream, and what is wrong with it."""
    if not events:
        return LOST, "a stream without an event"
    if events[-1] != "[DONE]":
        last = json.loads(events[-1])
        if "error" not in last:
            return LOST, "broke off without a word"
        return _error(None, last)
    chunks = [json.loads(event) for event in events[:-1]]
    pieces = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"] if "delta" in choice]
    if not any(pieces):
        return OK, "has no text"
    return _cut_short(chunks[-1].get("mull", {}))


def _whole(kind: str, status: int, said: Mapping[str, Any], sent: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return the outcome of a reply that came in one piece, what is wrong with it, and the job's name if it is one."""
    if status != 200:
        return *_error(status, said), None
    if kind == JOB:
        return OK, "" if said["status"] in ("queued", "in_progress") else f"begins as {said['status']}", said["id"]
    if kind == "score":
        scores = [score for found in said["data"] for score in found["scores"]]
        return OK, "" if scores and all(0 <= score <= 1 for score in scores) else f"has the scores {scores}", None
    return *_chat(said, sent["mull"]["budget"].get("policy_tokens", inf)), None


def _chat(said: Mapping[str, Any], limit: float) -> tuple[str, str]:
    text, usage, mull = said["choices"][0]["message"]["content"], said["usage"], said["mull"]
    outcome, wrong = _cut_short(mull)
    candidates = mull["candidates"]
    if not text or text not in [candidate["text"] for candidate in candidates]:
        wrong = f"answers what is no candidate: {text!r}"
    elif usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        wrong = f"has a usage that does not add up: {usage}"
    elif usage["completion_tokens"] > limit:
        wrong = f"has spent {usage['completion_tokens']} policy tokens of {limit:g}"
    elif any(not 0 <= score <= 1 for candidate in candidates for score in candidate["scores"] or ()):
        wrong = "has scores out of range"
    return outcome, wrong


def _cut_short(mull: Mapping[str, Any]) -> tuple[str, str]:
    if "stopped_by" not in mull:
        return OK, "does not say what stopped it"
    return (BEST if mull["stopped_by"] == "deadline" else OK), ""


def _error(status: int | None, said: Mapping[str, Any]) -> tuple[str, str]:
    """Return an error's code, and what is wrong with its shape or its status."""
    error = said.get("error")
    if (
        not isinstance(error, dict)
        or set(error) - {"trace_id"} != {"message", "type", "param", "code"}
        or not error["message"]
    ):
        return "error", f"an error not of OpenAI's shape: {said}"
    code = str(error["code"])
    if code not in _STATUS:
        return code, f"an error that is none of ours: {error}"
    if status is not None and _STATUS[code] != status:
        return code, f"a {code} with status {status}"
    return code, ""
