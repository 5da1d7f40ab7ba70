"""A gateway of our own shape, answered from a table instead of by a search."""

import json
from collections.abc import Callable
from typing import Any

import httpx

URL = "http://gateway.test"


def candidate(
    answer: str | None, scores: tuple[float, ...] = (), text: str = "Step one.\n\nStep two.", multiplicity: int = 1
) -> dict[str, Any]:
    """Return one candidate as the gateway shows it."""
    return {
        "text": text,
        "answer": answer,
        "key": answer,
        "scores": list(scores),
        "score": min(scores) if scores else None,
        "finished": True,
        "finish_reason": "stop",
        "tokens": 20,
        "multiplicity": multiplicity,
    }


def vote(answer: str, share: float, candidates: int) -> dict[str, Any]:
    """Return one answer's votes as the gateway shows them."""
    return {"answer": answer, "key": answer, "weight": share * 10, "share": share, "candidates": candidates}


def completion(answer: str | None, **mull: Any) -> dict[str, Any]:
    """Return a response body whose chosen answer is `answer`; `mull` overrides fields of its outcome."""
    outcome = {
        "answer": answer,
        "confidence": 1.0,
        "stopped_by": "completed",
        "votes": [vote(answer, 1.0, 1)] if answer is not None else [],
        "candidates": [],
        "usage": {
            "policy": {"kept": 20, "discarded": 80, "prompt": 30, "cached": 0, "estimated": False},
            "reward": {"submitted": 400, "cached": 0, "generated": 4, "estimated": False},
        },
        "warnings": [],
        "seconds": 0.5,
    }
    return {"id": "chatcmpl-1", "object": "chat.completion", "mull": outcome | mull}


class FakeGateway:
    """Answers every question by `answer(question, body)`: a response body, or a whole response."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], dict[str, Any] | httpx.Response]) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []
        self.models = ["tiny"]
        self.cache = "miss"

    @property
    def transport(self) -> httpx.MockTransport:
        """A transport that leads here."""
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"object": "list", "data": [{"id": name} for name in self.models]})
        assert request.url.path == "/v1/chat/completions"
        body = json.loads(request.content)
        self.bodies.append(body)
        self.headers.append(request.headers)
        answer = self.answer(body["messages"][-1]["content"], body)
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer, headers={"x-mull-cache": self.cache})


def failure(status: int, message: str, code: str) -> httpx.Response:
    """Return an error as the gateway tells it."""
    error = {"message": message, "type": "engine_error", "param": None, "code": code}
    return httpx.Response(status, json={"error": error})
