"""A small client of Mull's own HTTP API, for the commands that ask questions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from service.cli.outcome import Outcome, Reply
from service.errors import EngineTimeout, InvalidRequest, MullError, from_wire

LONGEST_S = 610.0
"""Seconds to wait for an answer when no deadline was asked for: the longest a gateway allows, and some."""


class GatewayDown(MullError):
    """Nothing answers at the gateway's address."""

    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True


class NotMull(MullError):
    """Something answers at the gateway's address, but not as Mull's gateway does."""

    status: ClassVar[int] = 502


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What may be said about a search; `None` leaves the choice to others. `deadline_s` in seconds, > 0."""

    samples: int | None = None
    early_stop: str | None = None
    economy: bool | None = None
    source: str | None = None
    select: str | None = None
    steps: str | None = None
    answer: Mapping[str, object] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    deadline_s: float | None = None
    policy_tokens: int | None = None
    reward_tokens: int | None = None
    parallel: int | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further parameters of the strategy, by name."""

    @property
    def parameters(self) -> dict[str, object]:
        """The strategy's parameters, as far as they are given."""
        return {**_given(samples=self.samples, early_stop=self.early_stop, economy=self.economy), **self.settings}

    @property
    def score(self) -> dict[str, object]:
        """How candidates are scored, as far as it is given."""
        return _given(source=self.source, select=self.select, steps=self.steps)

    @property
    def budget(self) -> dict[str, object]:
        """The limits that are given."""
        return _given(
            deadline_ms=None if self.deadline_s is None else max(1, round(self.deadline_s * 1000)),
            policy_tokens=self.policy_tokens,
            reward_tokens=self.reward_tokens,
            parallel=self.parallel,
        )


@dataclass(frozen=True, slots=True)
class Search(Wishes):
    """How to search for an answer through the gateway."""

    model: str
    strategy: str
    no_store: bool = False
    """Use nothing of what earlier questions have left, and leave nothing."""

    def body(self, question: str, *, include: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the request body that asks `question`."""
        mull = {
            "strategy": {"name": self.strategy, **self.parameters},
            "score": self.score,
            "answer": self.answer,
            "budget": self.budget,
            "include": list(include),
        }
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            **_given(max_completion_tokens=self.max_tokens, seed=self.seed),
            "mull": {key: value for key, value in mull.items() if value},
        }

    @property
    def headers(self) -> dict[str, str]:
        """What is said beside the body."""
        return {"cache-control": "no-store"} if self.no_store else {}


class Client:
    """Asks one gateway, past the environment's proxies (the gateway is near); an async context manager.

    The environment's MULL_API_KEY is the key that it shows.
    """

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        limits = httpx.Limits(max_connections=None)
        key = os.environ.get("MULL_API_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=self.url, transport=transport, trust_env=False, limits=limits, headers=headers
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def models(self) -> list[str]:
        """Return the names that may be asked for. Raises `GatewayDown` and `NotMull`."""
        body = self._body(await self._send("GET", "/v1/models", wait_s=10))
        try:
            return [str(model["id"]) for model in body["data"]]
        except (KeyError, TypeError) as error:
            raise self._not_mull("its /v1/models lists no models") from error

    async def model(self, asked: str | None) -> str:
        """Return `asked`, or the only model there is. Raises `InvalidRequest` where there are several."""
        if asked is not None:
            return asked
        known = await self.models()
        if len(known) != 1:
            hint = f"Choose one with --model: {', '.join(known)}."
            raise InvalidRequest(f"The gateway serves {len(known)} models.", hint=hint)
        return known[0]

    async def ask(self, question: str, search: Search, *, include: tuple[str, ...] = ()) -> Reply:
        """Return the answer. Raises `MullError`: what the gateway says, `GatewayDown` or `NotMull`."""
        wait_s = LONGEST_S if search.deadline_s is None else search.deadline_s + 10
        body = search.body(question, include=include)
        response = await self._send("POST", "/v1/chat/completions", wait_s=wait_s, json=body, headers=search.headers)
        reply = self._body(response)
        try:
            outcome = Outcome.model_validate(reply.get("mull"))
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "mull"
            raise self._not_mull(f"its answer has no usable `mull` object (see {field})") from error
        return Reply(reply, outcome, response.headers.get("x-mull-cache", "off"))

    async def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """Return the records of a search that left its trace. Raises `MullError`, as `ask` does."""
        body = self._body(await self._send("GET", f"/v1/traces/{quote(trace_id, safe='')}", wait_s=10))
        records = body.get("records")
        if not isinstance(records, list):
            raise self._not_mull("its /v1/traces holds no records")
        return records

    async def _send(
        self,
        method: str,
        path: str,
        *,
        wait_s: float,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=json, headers=headers, timeout=wait_s)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise GatewayDown(f"No gateway answers at {self.url}.", hint="Start one with `mull up`.") from error
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            message = f"The gateway at {self.url} hung up."
            raise GatewayDown(message, hint="Its log is in .mull/logs; `mull up` starts another.") from error
        except httpx.TimeoutException as error:
            message = f"The gateway at {self.url} was silent for {wait_s:g} s."
            raise EngineTimeout(message, hint="Its log is in .mull/logs.") from error
        except UnicodeEncodeError as error:
            raise InvalidRequest("The question is no valid Unicode text.", hint="Give it as UTF-8.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InvalidRequest(f"Cannot ask {self.url}: {error}.", hint="Check --url.") from error

    def _body(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError as error:
            raise self._not_mull(f"it answered {response.status_code} without JSON") from error
        if not isinstance(body, dict):
            raise self._not_mull(f"it answered {response.status_code} without a JSON object")
        if response.is_success:
            return body
        wire = body.get("error")
        if not isinstance(wire, dict) or not isinstance(wire.get("message"), str):
            raise self._not_mull(f"it answered {response.status_code} without an error body")
        raise from_wire({"class": wire.get("code"), "message": wire["message"], "hint": "", "param": wire.get("param")})

    def _not_mull(self, what: str) -> NotMull:
        return NotMull(f"What answers at {self.url} is not Mull's gateway: {what}.", hint="Check --url.")


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
