"""What an item of the conformance list expects, compared with what came."""

from collections.abc import Iterator, Sequence
from typing import Any


def differences(expected: Any, came: Any, where: str = "") -> Iterator[str]:
    """Yield every place where `came` is not as expected.

    Of an object only the expected keys are compared. `<text>` stands for any text but the empty one, `<count>` for any
    positive integer, `<without> X` for a text that does not hold ` X`.
    """
    match expected:
        case dict():
            if not isinstance(came, dict):
                yield f"{where}: {came!r} is no object"
                return
            for key, value in expected.items():
                yield from differences(value, came.get(key), f"{where}.{key}")
        case list():
            if not isinstance(came, list) or len(came) != len(expected):
                yield f"{where}: {came!r} is no list of {len(expected)}"
                return
            for place, (value, found) in enumerate(zip(expected, came, strict=True)):
                yield from differences(value, found, f"{where}[{place}]")
        case "<text>":
            if not (isinstance(came, str) and came):
                yield f"{where}: {came!r} is no text"
        case "<count>":
            if not (isinstance(came, int) and came > 0):
                yield f"{where}: {came!r} is no positive number"
        case str() if expected.startswith("<without>"):
            if not isinstance(came, str) or expected.removeprefix("<without>") in came:
                yield f"{where}: {came!r}"
        case _:
            if came != expected:
                yield f"{where}: {came!r} is not {expected!r}"


def streamed(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the chunks of one stream of a single choice come to."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice["delta"] if "delta" in choice else {"content": choice["text"]} for choice in choices]
    return {
        "ids": len({chunk["id"] for chunk in chunks}),
        "objects": sorted({chunk["object"] for chunk in chunks}),
        "models": sorted({chunk["model"] for chunk in chunks}),
        "roles": [delta["role"] for delta in deltas if delta.get("role")],
        "content": "".join(delta.get("content") or "" for delta in deltas),
        "reasoning": "".join(delta.get("reasoning") or "" for delta in deltas),
        "finish_reasons": [choice["finish_reason"] for choice in choices if choice["finish_reason"]],
        "usage": chunks[-1].get("usage"),
        "usages": sum(1 for chunk in chunks if chunk.get("usage")),
    }
