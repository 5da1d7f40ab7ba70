"""A small client of Prometheus' HTTP API: what queries return, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx

from service.errors import InvalidRequest, MullError
from service.report.span import seconds

ANSWER_S = 30.0
"""Longest wait for the answer to one query."""
_UNKNOWN_INTERVAL_S = 60.0
"""Prometheus' own default, for servers that do not tell what they scrape."""


class PrometheusDown(MullError):
    """Nothing answers at Prometheus' address, or not as Prometheus does."""

    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True


class BadQuery(MullError):
    """Prometheus does not understand a query."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its labels, and its finite values as (Unix time in seconds, value), in order of time."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """Asks one server; raises `PrometheusDown` where it gives no usable answer and `BadQuery` where it has refused."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # A proxy is for addresses outside; one of an environment that wants one would be asked for 127.0.0.1 too.
        self._client = httpx.AsyncClient(timeout=ANSWER_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def lines(self, promql: str, *, start: float, end: float, step: float) -> list[Line]:
        """Return what a query was from `start` to `end` (Unix times), every `step` seconds."""
        asked = {"query": promql, "start": f"{start}", "end": f"{end}", "step": f"{step}"}
        data = await self._ask("/api/v1/query_range", asked)
        return [Line(found["metric"], _finite(found["values"])) for found in _result(data)]

    async def values(self, promql: str, *, at: float) -> list[Line]:
        """Return what a query is at one moment (Unix time): lines of one point, or of none where it is no number."""
        data = await self._ask("/api/v1/query", {"query": promql, "time": f"{at}"})
        return [Line(found["metric"], _finite([found["value"]])) for found in _result(data)]

    async def interval_s(self) -> float:
        """Return the longest time between two scrapes of what it scrapes, in seconds."""
        try:
            targets = (await self._ask("/api/v1/targets", {"state": "active"}))["activeTargets"]
            return max((seconds(target["scrapeInterval"]) for target in targets), default=_UNKNOWN_INTERVAL_S)
        except (BadQuery, InvalidRequest, LookupError, TypeError):
            # What only speaks Prometheus' query language scrapes nothing itself.
            return _UNKNOWN_INTERVAL_S

    async def _ask(self, path: str, asked: dict[str, str]) -> Any:
        hint = "Start one with deploy/prometheus, or say where it is: --prometheus http://HOST:9090."
        try:
            # By GET, which a server that is behind a read-only proxy answers too.
            answer = await self._client.get(f"{self.url}{path}", params=asked)
            body = answer.json()
            status = body["status"]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PrometheusDown(f"No Prometheus answers at {self.url} ({type(error).__name__}).", hint=hint) from error
        except (ValueError, LookupError, TypeError) as error:
            message = f"What answers at {self.url} is not Prometheus (status {answer.status_code})."
            raise PrometheusDown(message, hint=hint) from error
        if status != "success":
            said = f"{body.get('error', 'an error')}"
            raise BadQuery(f"Prometheus at {self.url} does not take {asked.get('query', path)}: {said}.")
        return body["data"]


def _result(data: Any) -> list[Any]:
    result: list[Any] = data["result"]
    if data["resultType"] == "scalar":
        return [{"metric": {}, "value": result}]
    return result


def _finite(pairs: list[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    return tuple((moment, value) for moment, text in pairs if math.isfinite(value := float(text)))
