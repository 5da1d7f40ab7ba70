"""What a request came to, for the metrics."""

from collections.abc import Iterator
from typing import Literal

from service.errors import MullError, NoAnswer
from service.gateway.waiting import ClientGone

Outcome = Literal["ok", "client_error", "server_error", "deadline", "gone"]


def _kinds(cls: type[MullError]) -> Iterator[type[MullError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _kinds(child)


_STATUSES = {cls.__name__: cls.status for cls in _kinds(MullError)}


def outcome(status: int, error: str | None) -> Outcome:
    """Return what an answer with that status came to; `error` is the class of what ended it, if anything did.

    A stream has its status before its end: what breaks it off afterwards decides. Status 0: nothing was sent at all.
    """
    if status in (0, 499) or error == ClientGone.__name__:
        return "gone"
    if error == NoAnswer.__name__:
        return "deadline"
    status = max(status, _STATUSES.get(error, 0) if error is not None else 0)
    if status < 400:
        return "ok"
    return "client_error" if status < 500 else "server_error"
