"""What a request came to, from its status and what ended it."""

import pytest

from service.gateway.outcome import Outcome, outcome


@pytest.mark.parametrize(
    ("status", "error", "came_to"),
    [
        (200, None, "ok"),
        (400, "InvalidRequest", "client_error"),
        (429, "QuotaExceeded", "client_error"),
        (500, "MullError", "server_error"),
        (503, "Overloaded", "server_error"),
        (504, "EngineTimeout", "server_error"),
        (504, "NoAnswer", "deadline"),
        (499, "ClientGone", "gone"),
        (0, None, "gone"),
        # A stream that had begun.
        (200, "ClientGone", "gone"),
        (200, "NoAnswer", "deadline"),
        (200, "EngineUnavailable", "server_error"),
        (200, "QuestionTooLong", "client_error"),
    ],
)
def test_outcome(status: int, error: str | None, came_to: Outcome) -> None:
    """What broke an answer off counts for more than the status it began with."""
    assert outcome(status, error) == came_to
