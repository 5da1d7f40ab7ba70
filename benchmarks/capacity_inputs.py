"""What the plans of docs/scale.md are made from, measured and assumed. The page says how and whence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked. The busiest time has `peak_factor` times the mean rate, and servers are `target` busy then."""

    questions_per_day: float
    peak_factor: float
    target: float


@dataclass(frozen=True, slots=True)
class Station:
    """One kind of server: `work` per question in `unit`, of which one server does `rate` per second.

    `fewest` is 2 where they stand in for each other, 1 where there is one that has it all.
    """

    name: str
    work: float
    unit: str
    rate: float
    fewest: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A load with all servers that it meets, `seconds` from request to answer, and what Redis keeps, in bytes.

    Per question, `for_a_day` (results and samples) and `for_a_week` (scores): Mull's own times to live.
    """

    load: Load
    stations: tuple[Station, ...]
    seconds: float
    for_a_day: float
    for_a_week: float


MILLION = Load(questions_per_day=1_000_000, peak_factor=4.0, target=0.65)

CORE = 1000.0
"""CPU milliseconds in a second: what one process that runs Python code in one thread has."""

# Measured by `benchmarks.load`, the mix of twelve ways to ask: per answer, and of a policy server what it does per
# second of the one core that it keeps busy. Nothing is remembered there.
POLICY_TOKENS, POLICY_TOKENS_PER_S = 475.0, 1992.0
REWARD_MS, WORKER_MS, GATEWAY_MS = 101.0, 59.0, 23.0
# Measured by `benchmarks.guarantees`: what remembering adds per request, the mean of its three ways to ask.
REMEMBERING_WORKER_MS, REMEMBERING_GATEWAY_MS, REDIS_MS = 5.1, 1.9, 1.7
# The same, best of 8 with all that is remembered: per request, and per token that the policy wrote.
BEST_OF_8_GATEWAY_MS, BEST_OF_8_REDIS_MS = 12.3, 2.6
WORKER_MS_PER_TOKEN = 0.066
# Redis' MEMORY USAGE of the keys that 16 such questions left, per token that the policy wrote.
DAY_BYTES_PER_TOKEN, WEEK_BYTES_PER_TOKEN = 6.3, 3.1

TINY = Plan(
    MILLION,
    (
        Station("policy server", POLICY_TOKENS, "tokens", POLICY_TOKENS_PER_S),
        Station("reward server", REWARD_MS, "CPU ms", CORE),
        Station("search worker", WORKER_MS + REMEMBERING_WORKER_MS, "CPU ms", CORE),
        Station("gateway", GATEWAY_MS + REMEMBERING_GATEWAY_MS, "CPU ms", CORE),
        Station("Redis", REDIS_MS, "CPU ms", CORE, fewest=1),
    ),
    seconds=15,
    for_a_day=POLICY_TOKENS * DAY_BYTES_PER_TOKEN,
    for_a_week=POLICY_TOKENS * WEEK_BYTES_PER_TOKEN,
)

# Assumed: best of 16, candidates of 512 tokens, a prompt of 150 that the reward model reads with each of them.
SAMPLES, CANDIDATE, PROMPT = 16, 512, 150
# Assumed, tokens per second of one H100: a 1.5B policy with 256 streams at once; prompts through a 7B reward model.
DECODE_1B5, PREFILL_7B = 15_000.0, 20_000.0

GPU = Plan(
    MILLION,
    (
        Station("policy GPU", SAMPLES * CANDIDATE, "tokens", DECODE_1B5),
        Station("reward GPU", SAMPLES * (PROMPT + CANDIDATE), "tokens", PREFILL_7B),
        Station("search worker", SAMPLES * CANDIDATE * WORKER_MS_PER_TOKEN, "CPU ms", CORE),
        Station("gateway", BEST_OF_8_GATEWAY_MS, "CPU ms", CORE),
        Station("Redis", BEST_OF_8_REDIS_MS * SAMPLES / 8, "CPU ms", CORE, fewest=1),
    ),
    seconds=10,
    for_a_day=SAMPLES * CANDIDATE * DAY_BYTES_PER_TOKEN,
    for_a_week=SAMPLES * CANDIDATE * WEEK_BYTES_PER_TOKEN,
)

PLANS = {"tiny": TINY, "gpu": GPU}
