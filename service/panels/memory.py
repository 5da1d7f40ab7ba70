"""What is remembered, who is let in, and what waits in the background."""

from service.panels.overview import ASKED
from service.panels.panel import Dashboard, Kind, Panel, Query, Section, Unit
from service.panels.promql import rate, share_in_all

_ANSWERS = "mull_cache_requests_total"
_FROM_MEMORY = 'mull_cache_requests_total{result=~"hit|coalesced|extended"}'

_AWAY = 'mull_requests_total{endpoint=~"chat|completions|score|responses", status=~"401|429|503"}'

_AT_A_GLANCE = Section(
    "At a glance",
    (
        Panel(
            "Answers from memory",
            Unit.SHARE,
            (share_in_all(_FROM_MEMORY, _ANSWERS, "from memory"),),
            "Depends on how often questions come back. Suddenly zero: Redis is away, or a new version began anew.",
            Kind.NUMBER,
        ),
        Panel(
            "Redis",
            Unit.COUNT,
            (Query("min(mull_redis_up)", "up"),),
            "1. At 0 everything goes on without memory; jobs are refused.",
            Kind.NUMBER,
            only="a Redis that is not switched off",
        ),
    ),
)

_REMEMBERED = Section(
    "Remembered answers",
    (
        Panel(
            "Answers by where they came from",
            Unit.REQUESTS_PER_S,
            (rate(_ANSWERS, "result", "{{result}}"),),
            "hit: kept. coalesced: the same question was in flight. extended: earlier samples were used. error: zero.",
            Kind.STACKED,
        ),
        Panel(
            "Redis did not answer",
            Unit.REQUESTS_PER_S,
            (Query("sum by (why) (rate(mull_redis_unanswered_total[$window])) or vector(0)", "{{why}}"),),
            "Zero. timeout: slow or full. lost: restarted. refused: read-only, or no memory left.",
            only="a Redis that is not switched off",
        ),
        Panel(
            "Scores remembered",
            Unit.SCORES_PER_S,
            (rate("mull_remembered_scores_total", "strategy", "{{strategy}}"),),
            "Scores that an earlier search had paid for.",
            Kind.STACKED,
        ),
    ),
)

_DOORS = Section(
    "Admission and keys",
    (
        Panel(
            "Tokens at the door",
            Unit.TOKENS,
            (Query("sum by (state) (mull_admission_tokens)", "{{state}}"),),
            "Waiting near zero. What is in flight is a promise: the most that those searches may still use.",
            Kind.STACKED,
        ),
        Panel(
            "Turned away",
            Unit.REQUESTS_PER_S,
            (Query(f"sum by (status) (rate({_AWAY}[$window])) or vector(0)", "{{status}}"),),
            "401: no key, or a wrong one. 429: a key's quota. 503: the service is full.",
        ),
        Panel(
            "Turned away of all",
            Unit.SHARE,
            (
                Query(
                    f"(sum(rate({_AWAY}[$window])) or vector(0)) / sum(rate({ASKED}[$window]))",
                    "turned away",
                ),
            ),
            "Near zero. Whom it was, the gateway's log says.",
        ),
    ),
)

_JOBS = Section(
    "Jobs in the background",
    (
        Panel(
            "Jobs",
            Unit.COUNT,
            (Query("max by (state) (mull_jobs)", "{{state}}"),),
            "queued falls to zero between peaks. All gateways see the same jobs, so the largest count is taken.",
            only="a Redis, which keeps the jobs",
        ),
        Panel(
            "Jobs ended",
            Unit.REQUESTS_PER_S,
            (rate("mull_jobs_ended_total", "status", "{{status}}"),),
            "completed, and what clients cancelled.",
            Kind.STACKED,
            only="a Redis, which keeps the jobs",
        ),
    ),
)

MEMORY = Dashboard(
    "mull-memory",
    "Mull: cache and keys",
    "What is remembered, who is let in, what waits?",
    (_AT_A_GLANCE, _REMEMBERED, _DOORS, _JOBS),
)
