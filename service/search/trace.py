"""What happened in a search, as records that are written down in order: one JSON object a line.

A trace is enough to replay the search without engines (`service.search.replay`) and to go on with it under a larger
budget (`service.search.past`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.errors import InvalidRequest
from service.search.ports import Bill
from service.search.request import SearchRequest
from strategies.protocol import (
    Action,
    Cancel,
    Cancelled,
    Ended,
    Event,
    Finish,
    Path,
    Paused,
    Refused,
    Sample,
    Score,
    Scored,
    Step,
)
from strategies.spec import Spec

VERSION = 1


@dataclass(frozen=True, slots=True)
class Begun:
    """The first record: the request, the length of its prompt in tokens, and the token cap of each candidate."""

    request: SearchRequest
    prompt: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Wished:
    """What the strategy asked for."""

    at: float
    action: Action


@dataclass(frozen=True, slots=True)
class Told:
    """What the strategy was told."""

    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Grown:
    """One stream of the policy, or a piece of one: what it wrote and what it cost.

    `finish_reason` is `None` where it was stopped before its end. `past` marks what an earlier run has paid for.
    """

    at: float
    node: Path
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str | None
    bill: Bill
    past: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One call to the reward model, and what it cost; or none where so many scores were `remembered`."""

    at: float
    bill: Bill
    past: bool = False
    remembered: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last record: why the search stopped."""

    at: float
    reason: str


Record = Begun | Wished | Told | Grown | Judged | Stopped
"""`at` is in seconds since the search began."""

_ACTIONS: dict[str, TypeAdapter[Action]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Sample, Score, Cancel, Finish)
}
_EVENTS: dict[str, TypeAdapter[Event]] = {
    kind.__name__: TypeAdapter(kind) for kind in (Step, Paused, Ended, Scored, Cancelled, Refused)
}
_RECORDS: dict[str, TypeAdapter[Grown | Judged | Stopped]] = {
    "grown": TypeAdapter(Grown),
    "judged": TypeAdapter(Judged),
    "stopped": TypeAdapter(Stopped),
}


def to_json(record: Record) -> dict[str, Any]:
    """Return `record` as an object for JSON."""
    match record:
        case Begun(request, prompt, max_tokens):
            asked = request.model_dump(mode="json")
            return {"mull_trace": VERSION, "request": asked, "prompt": prompt, "max_tokens": max_tokens}
        case Wished(at, action):
            return {"at": round(at, 6), "action": type(action).__name__, **asdict(action)}
        case Told(at, event):
            return {"at": round(at, 6), "event": type(event).__name__, **asdict(event)}
        case Grown() | Judged() | Stopped():
            return {"record": type(record).__name__.lower(), **asdict(record), "at": round(record.at, 6)}


def from_json(data: dict[str, Any], own: type[Spec] | None = None) -> Record:
    """Return the record of `to_json`; raises `KeyError`, `TypeError` or `ValueError` for anything else.

    `own` is the class of a strategy that is not in the registry.
    """
    fields = dict(data)
    if "mull_trace" in fields:
        if fields["mull_trace"] != VERSION:
            raise ValueError(f"it has format {fields['mull_trace']}, this Mull reads {VERSION}")
        asked = dict(fields["request"])
        if own is not None:
            asked["strategy"] = own.model_validate(asked["strategy"])
        return Begun(SearchRequest.model_validate(asked), fields["prompt"], fields["max_tokens"])
    if "record" in fields:
        return _RECORDS[fields.pop("record")].validate_python(fields)
    at = float(fields.pop("at"))
    if "action" in fields:
        return Wished(at, _ACTIONS[fields.pop("action")].validate_python(fields))
    return Told(at, _EVENTS[fields.pop("event")].validate_python(fields))


def to_lines(records: Iterable[Record]) -> Iterator[str]:
    """Return one line of JSON per record, without line ends."""
    for record in records:
        yield json.dumps(to_json(record), ensure_ascii=False)


def from_lines(lines: Iterable[str], own: type[Spec] | None = None) -> Sequence[Record]:
    """Return the records of a trace; raises `InvalidRequest` that names the line where it cannot be read.

    `own` is the class of a strategy that is not in the registry.
    """
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(from_json(json.loads(line), own))
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            raise InvalidRequest(
                f"Line {number} is not a record of a trace: {error}.",
                hint="Traces are written by `mull solve --trace FILE`.",
            ) from None
    if not records or not isinstance(records[0], Begun) or not isinstance(records[-1], Stopped):
        raise InvalidRequest(
            "The trace is not whole: its first or its last record is missing.",
            hint="Traces are written by `mull solve --trace FILE`.",
        )
    return records
