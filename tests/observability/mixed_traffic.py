"""A bit of everything that clients do, so that every metric has something to count."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

LIMIT_S = 60.0
QUESTION = "Bo has 12 pens. Ann has 5 more pens than Bo. How many pens does Ann have?"
STRATEGIES: dict[str, dict[str, Any]] = {
    "sample": {},
    "majority_vote": {"samples": 8},
    "best_of_n": {"samples": 8},
    "beam_search": {"beams": 2, "expansions": 2},
    "mcts": {"simulations": 4, "expansions": 2},
}


class Traffic:
    """Asks a gateway; `round` asks for some of everything, each time anew."""

    def __init__(self, gateway_url: str) -> None:
        self._http = httpx.Client(base_url=gateway_url, timeout=LIMIT_S, trust_env=False)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def round(self) -> None:
        """Every strategy, a kept answer, more samples for a known question, a score, a stream, a job, mistakes."""
        asked: list[Any] = [lambda name=name: self._search(name) for name in STRATEGIES]
        asked += [self._again, self._more, self._scored, self._streamed, self._job, self._mistakes]
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(ask) for ask in asked]:
                done.result()

    def _search(self, name: str) -> None:
        self._answered(_chat({"name": name, **STRATEGIES[name]}))

    def _again(self) -> None:
        """One question twice: the second answer is a kept one."""
        body = _chat({"name": "sample"})
        for _ in range(2):
            self._answered(body)

    def _more(self) -> None:
        """One question with few samples and then with more."""
        body = _chat({"name": "best_of_n", "samples": 2, "early_stop": "off"})
        self._answered(body)
        body["mull"]["strategy"]["samples"] = 4
        self._answered(body)

    def _scored(self) -> None:
        steps = ["Ann has 12 + 5 = 17 pens.", "The answer is \\boxed{17}."]
        body = {"model": "tiny", "question": QUESTION, "steps": [steps]}
        self._post("/v1/score", body).raise_for_status()

    def _streamed(self) -> None:
        body = _chat({"name": "best_of_n", "samples": 4}) | {"stream": True}
        body["mull"]["progress"] = "events"
        with self._http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.is_success
            assert list(answer.iter_lines())[-2:] == ["data: [DONE]", ""]

    def _job(self) -> None:
        body = {"model": "tiny", "input": QUESTION, "background": True, "seed": uuid.uuid4().int % 2**62}
        job = self._post("/v1/responses", body).raise_for_status().json()
        until = time.monotonic() + LIMIT_S
        while self._http.get(f"/v1/responses/{job['id']}").json()["status"] in ("queued", "in_progress"):
            assert time.monotonic() < until
            time.sleep(0.1)

    def _mistakes(self) -> None:
        """A body that is wrong, a model that is not there, and a deadline that no search can keep."""
        assert self._post("/v1/chat/completions", {"model": "tiny", "messages": 3}).status_code == 400
        assert self._post("/v1/chat/completions", _chat({"name": "sample"}) | {"model": "no"}).status_code == 404
        hurried = _chat({"name": "best_of_n", "samples": 8})
        hurried["mull"]["budget"] = {"deadline_ms": 1}
        assert self._post("/v1/chat/completions", hurried).status_code == 504

    def _answered(self, body: dict[str, Any]) -> None:
        self._post("/v1/chat/completions", body).raise_for_status()

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._http.post(path, json=body)


def _chat(strategy: dict[str, Any]) -> dict[str, Any]:
    """A question that nobody has asked before, as seeds differ."""
    messages = [{"role": "user", "content": QUESTION}]
    return {"model": "tiny", "messages": messages, "seed": uuid.uuid4().int % 2**62, "mull": {"strategy": strategy}}
