"""What searches buy: tokens spent and wasted, what was saved, how sure the answers are, what they cost."""

from service.panels.panel import Dashboard, Kind, Panel, Query, Section, Unit
from service.panels.promql import each_of, mean, quantile, rate, share, share_in_all

_WRITTEN = 'mull_policy_tokens_total{kind=~"kept|discarded"}'
_DISCARDED = 'mull_policy_tokens_total{kind="discarded"}'
_ANSWERED = 'mull_request_duration_seconds_count{outcome="ok"}'
_SAVED = "ray_mull_early_stop_saved_tokens_total"
_CONFIDENCE = "mull_vote_confidence"

_AT_A_GLANCE = Section(
    "At a glance",
    (
        Panel(
            "Tokens written",
            Unit.TOKENS,
            (Query(f"sum(increase({_WRITTEN}[$range]))", "tokens"),),
            "What the policy has generated for searches, returned or not.",
            Kind.NUMBER,
        ),
        Panel(
            "Of them not returned",
            Unit.SHARE,
            (share_in_all(_DISCARDED, _WRITTEN, "discarded"),),
            "The price of searching: near (n - 1) / n for n samples per answer.",
            Kind.NUMBER,
        ),
        Panel(
            "Saved by stopping early",
            Unit.TOKENS,
            (Query(f"sum(increase({_SAVED}[$range])) or vector(0)", "saved"),),
            "An estimate: what candidates that could not win any more would still have written.",
            Kind.NUMBER,
        ),
        Panel(
            "Vote share of the answer",
            Unit.SHARE,
            (
                Query(
                    f"sum(increase({_CONFIDENCE}_sum[$range])) / sum(increase({_CONFIDENCE}_count[$range]))",
                    "confidence",
                ),
            ),
            "Steady for a steady kind of question. A fall without a change of questions: policy or judge got worse.",
            Kind.NUMBER,
        ),
    ),
)

_COST = Section(
    "Cost of an answer",
    (
        Panel(
            "Policy tokens per answer",
            Unit.TOKENS,
            (each_of(_WRITTEN, _ANSWERED, "strategy", "{{strategy}}"),),
            "Kept answers count as answers that cost nothing, so repeated questions make this cheaper.",
            Kind.BARS,
        ),
        Panel(
            "Reward tokens per answer",
            Unit.TOKENS,
            (each_of('mull_reward_tokens_total{kind="submitted"}', _ANSWERED, "strategy", "{{strategy}}"),),
            "Near the policy's tokens where the judge reads each step once; far more where it reads everything again.",
            Kind.BARS,
        ),
        Panel(
            "Money per answer",
            Unit.MONEY,
            (each_of("mull_cost_total", _ANSWERED, "strategy", "{{strategy}}"),),
            "In the currency of the configured prices.",
            Kind.BARS,
            only="prices in the configuration",
        ),
        Panel(
            "Money by model",
            Unit.MONEY_PER_S,
            (rate("mull_cost_total", "model, role", "{{model}} {{role}}"),),
            "What an hour costs is 3600 times this.",
            Kind.STACKED,
            only="prices in the configuration",
        ),
    ),
)

_TOKENS = Section(
    "Tokens bought, wasted and saved",
    (
        Panel(
            "Policy tokens",
            Unit.TOKENS_PER_S,
            (rate(_WRITTEN, "kind", "{{kind}}"),),
            "Kept: in a returned choice. Discarded: everything else that was generated.",
            Kind.STACKED,
        ),
        Panel(
            "Discarded by strategy",
            Unit.SHARE,
            (share(_DISCARDED, _WRITTEN, "strategy", "{{strategy}}"),),
            "A tree search discards less than its flat counterpart of the same width, or it is not worth its levels.",
        ),
        Panel(
            "Prompt tokens from the prefix cache",
            Unit.SHARE,
            (
                share(
                    'mull_policy_tokens_total{kind="cached"}',
                    'mull_policy_tokens_total{kind="prompt"}',
                    "strategy",
                    "{{strategy}}",
                ),
            ),
            "High for trees, whose branches begin alike. Low: the cache is too small, or replicas change too often.",
        ),
        Panel(
            "Reward tokens",
            Unit.TOKENS_PER_S,
            (rate("mull_reward_tokens_total", "kind", "{{kind}}"),),
            "Cached near submitted where the judge reads its prefix cache.",
        ),
        Panel(
            "Saved by stopping early",
            Unit.TOKENS_PER_S,
            (rate(_SAVED, "strategy", "{{strategy}}"),),
            "An estimate. Zero where early stopping is off, or where no vote is ever decided before its end.",
            Kind.STACKED,
        ),
        Panel(
            "Taken from earlier searches",
            Unit.TOKENS_PER_S,
            (rate("mull_reused_tokens_total", "strategy", "{{strategy}}"),),
            "Tokens that somebody paid for earlier: the same question again, with more samples.",
            Kind.STACKED,
        ),
    ),
)

_SURE = Section(
    "How sure the answers are",
    (
        Panel(
            "Vote share of the answer",
            Unit.SHARE,
            (mean(_CONFIDENCE, "strategy", "{{strategy}}"),),
            "The mean of the chosen answer's share of votes.",
        ),
        Panel(
            "Vote margin",
            Unit.SHARE,
            (mean("mull_vote_margin", "strategy", "{{strategy}}"),),
            "First minus second. Near zero: more samples would change answers. Near one: fewer would do.",
        ),
        Panel(
            "Score of the answer",
            Unit.SHARE,
            (mean("mull_answer_score", "strategy", "{{strategy}}"),),
            "The reward model's opinion of what was chosen. It should move with accuracy: see `mull reward bench`.",
        ),
        Panel(
            "Unsure answers",
            Unit.SHARE,
            (share(f'{_CONFIDENCE}_bucket{{le="0.5"}}', f"{_CONFIDENCE}_count", "strategy", "{{strategy}}"),),
            "Answers with at most half of the votes: what a larger budget would help.",
        ),
    ),
)

_SEARCH = Section(
    "How searches go",
    (
        Panel(
            "Nodes begun",
            Unit.NODES_PER_S,
            (rate("ray_mull_search_expansions_total", "strategy", "{{strategy}}"),),
            "Follows traffic times samples.",
            Kind.STACKED,
        ),
        Panel(
            "Depth, 95 %",
            Unit.COUNT,
            (quantile(0.95, "ray_mull_search_depth", "{{strategy}}", by="strategy"),),
            "Steps of the deepest candidate. At the cap of a strategy's depth, solutions are cut short.",
        ),
        Panel(
            "Width, 95 %",
            Unit.COUNT,
            (quantile(0.95, "ray_mull_search_width", "{{strategy}}", by="strategy"),),
            "Most streams in flight of one search. Below the samples asked for: a budget or `parallel` holds it back.",
        ),
        Panel(
            "Why searches ended",
            Unit.REQUESTS_PER_S,
            (rate("ray_mull_stopped_total", "reason", "{{reason}}"),),
            "completed and decided. deadline or tokens: what came back is the best so far, not the best there is.",
            Kind.STACKED,
        ),
        Panel(
            "Wait for a score",
            Unit.SECONDS,
            (quantile(0.95, "ray_mull_scoring_wait_seconds", "{{strategy}}", by="strategy"),),
            "From a step's end to its score, 95 %. If it grows with load, the judge is full before the policy is.",
        ),
    ),
)

ECONOMICS = Dashboard(
    "mull-economics",
    "Mull: search economics",
    "What do the searches buy, and at what price?",
    (_AT_A_GLANCE, _COST, _TOKENS, _SURE, _SEARCH),
)
