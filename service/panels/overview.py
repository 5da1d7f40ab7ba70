"""Is it up, is it fast, is it full: traffic, errors, latency, saturation."""

from service.panels.panel import Dashboard, Kind, Panel, Query, Section, Unit
from service.panels.promql import quantile, quantiles, rate, share_in_all

ASKED = 'mull_requests_total{endpoint=~"chat|completions|score|responses"}'
FAILED = 'mull_requests_total{endpoint=~"chat|completions|score|responses", status=~"5.."}'
_OURS = 'mull_requests_total{endpoint!~"healthz|readyz|metrics"}'
_SECONDS = "mull_request_duration_seconds"

_AT_A_GLANCE = Section(
    "At a glance",
    (
        Panel(
            "Requests",
            Unit.COUNT,
            (Query(f"sum(increase({ASKED}[$range]))", "requests"),),
            "Everything that was asked for an answer or a score, answered or not.",
            Kind.NUMBER,
        ),
        Panel(
            "Failed",
            Unit.SHARE,
            (share_in_all(FAILED, ASKED, "failed"),),
            "Below 1 %. Counted are statuses from 500 up; a client's mistake is not a failure.",
            Kind.NUMBER,
        ),
        Panel(
            "Median latency",
            Unit.SECONDS,
            (Query(f"histogram_quantile(0.5, sum by (le) (increase({_SECONDS}_bucket[$range])))", "median"),),
            "Half of the searches are answered within this time, kept answers included.",
            Kind.NUMBER,
        ),
        Panel(
            "95 % latency",
            Unit.SECONDS,
            (Query(f"histogram_quantile(0.95, sum by (le) (increase({_SECONDS}_bucket[$range])))", "95 %"),),
            "Below the deadline that clients set; at the deadline, searches are cut short.",
            Kind.NUMBER,
        ),
    ),
)

_TRAFFIC = Section(
    "Traffic and errors",
    (
        Panel(
            "Requests by endpoint",
            Unit.REQUESTS_PER_S,
            (rate(_OURS, "endpoint", "{{endpoint}}"),),
            "Follows what clients do. A sudden zero with clients there: look at the gateway, or what stands before it.",
            Kind.STACKED,
        ),
        Panel(
            "Searches by strategy",
            Unit.REQUESTS_PER_S,
            (rate(f"{_SECONDS}_count", "strategy", "{{strategy}}"),),
            "The mix explains latency and tokens: a tree search costs many times one sample.",
            Kind.STACKED,
        ),
        Panel(
            "Searches by outcome",
            Unit.REQUESTS_PER_S,
            (rate(f"{_SECONDS}_count", "outcome", "{{outcome}}"),),
            "Nearly all ok. deadline: not even a first answer in time. gone: clients that waited no longer.",
            Kind.STACKED,
        ),
        Panel(
            "Failed requests",
            Unit.SHARE,
            (
                Query(
                    f"(sum(rate({FAILED}[$window])) or 0 * sum(rate({ASKED}[$window]))) / sum(rate({ASKED}[$window]))",
                    "failed",
                ),
            ),
            "Zero, apart from moments in which an engine is restarted.",
        ),
    ),
)

_LATENCY = Section(
    "Latency",
    (
        Panel(
            "Seconds per search",
            Unit.SECONDS,
            quantiles(_SECONDS),
            "Steady for a steady mix. A rising 99 % with a steady median: a queue, or one slow replica.",
        ),
        Panel(
            "95 % by strategy",
            Unit.SECONDS,
            (quantile(0.95, _SECONDS, "{{strategy}}", by="strategy"),),
            "What a client of each strategy has to expect.",
        ),
        Panel(
            "Time to first progress",
            Unit.SECONDS,
            quantiles("mull_time_to_first_progress_seconds"),
            "Well below a second on a card; streamed requests only. More: searches wait for admission or the policy.",
            only="streamed requests",
        ),
    ),
)

_SATURATION = Section(
    "Saturation",
    (
        Panel(
            "In flight",
            Unit.COUNT,
            (Query("sum by (kind) (mull_searches_in_flight)", "{{kind}}"),),
            "Rises with load and falls again. A plateau with waiting tokens beside it is a full service.",
            Kind.STACKED,
        ),
        Panel(
            "Admission used",
            Unit.SHARE,
            (
                Query(
                    "sum by (state) (mull_admission_tokens) / sum by (state) (mull_admission_limit_tokens)", "{{state}}"
                ),
            ),
            "In flight may reach 100 % at peaks; waiting at 100 % means that requests are refused.",
        ),
        Panel(
            "Refused at the door",
            Unit.REQUESTS_PER_S,
            (rate("mull_admission_refused_total", "reason", "{{reason}}"),),
            "Zero. full: too much waits. late: its turn came too late. quota: of a key.",
        ),
        Panel(
            "Processor",
            Unit.CORES,
            (rate("process_cpu_seconds_total", "job", "{{job}}"),),
            "A gateway that uses one core is full: start another. Of an engine on a card this says little.",
        ),
        Panel(
            "Memory",
            Unit.BYTES,
            (Query("sum by (job) (process_resident_memory_bytes)", "{{job}}"),),
            "Flat under steady load after the first minutes.",
        ),
    ),
)

OVERVIEW = Dashboard(
    "mull-overview",
    "Mull: overview",
    "Is it up, is it fast, is it full?",
    (_AT_A_GLANCE, _TRAFFIC, _LATENCY, _SATURATION),
)
