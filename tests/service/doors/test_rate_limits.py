import pytest

from service.doors.counts import Refusal, Standing
from service.doors.keys import Quota
from service.doors.rate_limits import quota_exceeded, rate_limit_headers

QUOTA = Quota(requests_per_minute=10, tokens_per_day=1000, searches=2)
NOW = 20_000 * 86_400 + 3600 - 13.5


def standing(refused: Refusal | None = None, requests: int = 4, tokens: int = 300) -> Standing:
    """A key some way into its quota, 13.5 seconds before one o'clock."""
    return Standing(requests, tokens, 1, NOW, refused, None)


def test_headers_are_openais() -> None:
    """Limit, what is left of it, and when it begins anew."""
    assert rate_limit_headers(QUOTA, standing()) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "6",
        "x-ratelimit-reset-requests": "14s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "700",
        "x-ratelimit-reset-tokens": "23h0m14s",
    }


def test_what_is_not_limited_is_not_told() -> None:
    """A key without a limit has no header for it."""
    assert rate_limit_headers(Quota(searches=1), standing()) == {}


def test_overdrawn_quota_has_nothing_left() -> None:
    """Searches that have cost more than their price do not leave less than nothing."""
    assert rate_limit_headers(QUOTA, standing(tokens=2000))["x-ratelimit-remaining-tokens"] == "0"


@pytest.mark.parametrize(
    ("refused", "after", "retry"), [("requests", 14, None), ("searches", 1, None), ("tokens", 82_814, "false")]
)
def test_client_is_told_when_to_come_back(refused: Refusal, after: int, retry: str | None) -> None:
    """And not to try again by itself where that is tomorrow."""
    error = quota_exceeded(QUOTA, standing(refused), refused, 800)
    assert error.retry_after == after
    assert rate_limit_headers(QUOTA, standing(refused)).get("x-should-retry") == retry
    assert error.to_body()["error"]["code"] == "rate_limit_exceeded"
