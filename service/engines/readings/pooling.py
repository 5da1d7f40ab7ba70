"""What a model with a head of its own says: `/pooling`, which reads a prompt and writes nothing."""

from math import isfinite
from typing import Any, Literal

from service.engines.completion import put
from service.engines.fleet import Fleet
from service.engines.readings.reading import Ready
from service.search.ports import Bill


async def pooled(
    engine: Fleet, ready: Ready, bill: Bill, *, task: Literal["classify", "token_classify"], **options: Any
) -> Any:
    """Return the data that vLLM has for one prompt, in whatever form it has; `options` go with the request.

    A token-wise task reads every token anew; `classify`, which has but one answer, reads the prefix cache, of which
    `/pooling` tells nothing. Being cancelled closes the connection, which ends the request and leaves the bill open: a
    vLLM that serves a pooling model aborts nothing by name. Raises `EngineError` and its children.
    """
    answer = await engine.post("/pooling", {"input": [ready.prompt], "task": task, **options}, place=ready.place)
    match answer.get("usage"):
        case {"prompt_tokens": int(prompt)}:
            put(Bill(prompt, 0 if task == "token_classify" else None, exact=True), bill)
    match answer.get("data"):
        case [{"data": data}]:
            return data
        case _:
            return None


def numbers(row: Any) -> tuple[float, ...]:
    """Return a row of finite numbers. Raises `ValueError` for anything else."""
    if not isinstance(row, list) or not row or not all(_is_number(value) for value in row):
        raise ValueError(f"{row!r} is no row of numbers")
    return tuple(map(float, row))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
