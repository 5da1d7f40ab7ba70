"""How a key stands against its quota, in the words of OpenAI's API: headers, and the error with status 429."""

from math import ceil

from service.doors.counts import Refusal, Standing
from service.doors.keys import Quota
from service.errors import QuotaExceeded

_CLIENTS_WAIT_S = 60
"""The longest that OpenAI's clients wait for a retry: told to come back later than that, they come back at once."""

_ABOUT: dict[Refusal, str] = {"requests": "requests per minute", "tokens": "tokens per day", "searches": "searches"}
_HINT: dict[Refusal, str] = {
    "requests": "Come back in the next minute.",
    "tokens": "Ask for less (mull.budget.policy_tokens), or come back tomorrow: days are counted in UTC.",
    "searches": "Wait until one of them has ended.",
}


def rate_limit_headers(quota: Quota, standing: Standing) -> dict[str, str]:
    """Return the `x-ratelimit-…` headers of those limits that the key has, and what a refused client should do."""
    headers: dict[str, str] = {}
    limits = (
        ("requests", quota.requests_per_minute, standing.requests, standing.minute_left_s),
        ("tokens", quota.tokens_per_day, standing.tokens, standing.day_left_s),
    )
    for what, limit, used, left_s in limits:
        if limit is not None:
            headers[f"x-ratelimit-limit-{what}"] = str(limit)
            headers[f"x-ratelimit-remaining-{what}"] = str(max(0, limit - used))
            headers[f"x-ratelimit-reset-{what}"] = _duration(ceil(left_s))
    if standing.refused is not None and _retry_after(standing.refused, standing) > _CLIENTS_WAIT_S:
        headers["x-should-retry"] = "false"
    return headers


def quota_exceeded(quota: Quota, standing: Standing, refused: Refusal, wanted: int) -> QuotaExceeded:
    """Return the error of a request priced at `wanted` tokens that ran into the quota `refused`."""
    limit = {"requests": quota.requests_per_minute, "tokens": quota.tokens_per_day, "searches": quota.searches}[refused]
    message = f"This key may use {limit} {_ABOUT[refused]}"
    match refused:
        case "tokens":
            message += f": {standing.tokens} are used or set aside today, and this request is priced at {wanted}."
        case "searches":
            message += f" at once, and {standing.searches} are in flight."
        case "requests":
            message += ", and has."
    return QuotaExceeded(message, hint=_HINT[refused], retry_after=_retry_after(refused, standing))


def _retry_after(refused: Refusal, standing: Standing) -> int:
    match refused:
        case "requests":
            return max(1, ceil(standing.minute_left_s))
        case "tokens":
            return max(1, ceil(standing.day_left_s))
        case "searches":
            return 1


def _duration(seconds: int) -> str:
    """Write seconds as OpenAI does: 6m0s, 1h0m3s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
