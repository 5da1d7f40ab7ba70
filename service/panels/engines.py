"""The vLLM servers, as they see themselves and as the search workers see them."""

from service.panels.panel import Dashboard, Kind, Panel, Query, Section, Unit
from service.panels.promql import quantile, rate, share

_REPLICA = "role, engine, replica"
_NAMED = "{{role}} {{engine}} {{replica}}"

_LOAD = Section(
    "Load, as vLLM sees it",
    (
        Panel(
            "Running",
            Unit.COUNT,
            (Query("sum by (job, instance) (vllm:num_requests_running)", "{{job}} {{instance}}"),),
            "Up to `slots` of the engine. Far below while requests wait: memory for keys and values is short.",
        ),
        Panel(
            "Waiting",
            Unit.COUNT,
            (Query("sum by (job, instance) (vllm:num_requests_waiting)", "{{job}} {{instance}}"),),
            "Near zero: searches queue before the engine, not in it.",
        ),
        Panel(
            "Key-value cache in use",
            Unit.SHARE,
            (Query("max by (job, instance) (vllm:kv_cache_usage_perc)", "{{job}} {{instance}}"),),
            "Below 90 %. Above, requests are preempted and begin again.",
        ),
        Panel(
            "Prefix-cache hits",
            Unit.SHARE,
            (share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", "job", "{{job}}"),),
            "Half and more for tree searches and for many samples of one question.",
        ),
    ),
)

_SPEED = Section(
    "Speed",
    (
        Panel(
            "Tokens written",
            Unit.TOKENS_PER_S,
            (rate("vllm:generation_tokens_total", "job, instance", "{{job}} {{instance}}"),),
            "The policy's output. Flat at its highest while requests wait: this is what the card can do.",
        ),
        Panel(
            "Prompt tokens read",
            Unit.TOKENS_PER_S,
            (rate("vllm:prompt_tokens_total", "job, instance", "{{job}} {{instance}}"),),
            "The reward model's work, mostly. Cached ones are counted too.",
        ),
        Panel(
            "Wait in the engine, 95 %",
            Unit.SECONDS,
            (quantile(0.95, "vllm:request_queue_time_seconds", "{{job}}", by="job"),),
            "Milliseconds.",
        ),
        Panel(
            "First token, 95 %",
            Unit.SECONDS,
            (quantile(0.95, "vllm:time_to_first_token_seconds", "{{job}}", by="job"),),
            "Grows with the prompt and with what runs beside it.",
        ),
        Panel(
            "Between tokens, median",
            Unit.SECONDS,
            (quantile(0.5, "vllm:inter_token_latency_seconds", "{{job}}", by="job"),),
            "Grows slowly with what runs at once; a jump is a preemption or a busy machine.",
        ),
        Panel(
            "Preempted",
            Unit.REQUESTS_PER_S,
            (rate("vllm:num_preemptions_total", "job, instance", "{{job}} {{instance}}"),),
            "Zero. Otherwise give the engine more cache, or lower its `slots`.",
        ),
    ),
)

_REPLICAS = Section(
    "Replicas, as the search workers see them",
    (
        Panel(
            "Requests by replica",
            Unit.REQUESTS_PER_S,
            (rate("ray_mull_engine_requests_total", _REPLICA, _NAMED),),
            "About equal over minutes; questions stay with a replica, so seconds may differ.",
        ),
        Panel(
            "In flight by replica",
            Unit.COUNT,
            (Query(f"sum by ({_REPLICA}) (ray_mull_engine_in_flight)", _NAMED),),
            "None far above the others: a replica that holds its requests is slow or hung.",
        ),
        Panel(
            "Engine requests by outcome",
            Unit.REQUESTS_PER_S,
            (rate("ray_mull_engine_requests_total", "role, outcome", "{{role}} {{outcome}}"),),
            "ok, and left: what searches gave up. failed: the engine's trouble. refused: ours, or a version's.",
            Kind.STACKED,
        ),
        Panel(
            "Sent again",
            Unit.REQUESTS_PER_S,
            (rate("ray_mull_engine_retried_total", "role, engine", "{{role}} {{engine}}"),),
            "Zero, but for the moments in which a replica is lost.",
        ),
        Panel(
            "Kept off the preferred replica",
            Unit.REQUESTS_PER_S,
            (rate("ray_mull_engine_spilled_total", "role, engine", "{{role}} {{engine}}"),),
            "Few. Many: a handful of questions make up the load, and each prefers one replica.",
        ),
        Panel(
            "Breaker open",
            Unit.COUNT,
            (Query(f"max by ({_REPLICA}) (ray_mull_engine_breaker_open)", _NAMED),),
            "0. At 1 the replica is left alone until it answers a probe.",
        ),
    ),
)

ENGINES = Dashboard(
    "mull-engines", "Mull: engines", "What do the vLLM servers do, and do they do it well?", (_LOAD, _SPEED, _REPLICAS)
)
