"""The one typed configuration, built once and passed down; `service.settings_file` reads it from `mull.yaml`.

Unknown keys are errors: a misspelt option must not be ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    Field,
    SecretStr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from reward_models.label_token import LabelToken
from reward_models.presets import PRESETS
from reward_models.registry import FamilySpec
from service.public_model import Effort
from service.public_model import PublicModel as PublicModel
from service.public_model import ReasoningEffort as ReasoningEffort
from service.redis_url import redis_url_password, redis_url_problem
from service.shared_engines import with_shared_engines
from service.strict import Strict
from service.tracing.settings import TracingSettings as TracingSettings


class PromptForm(Strict):
    """How a chat becomes the policy's prompt: the engine's chat template, or `template_file` (Jinja) instead of it."""

    system: str | None = Field(None, description="System message put first when the request brings none.")
    template_file: Path | None = Field(None, description="A chat template that replaces the model's own.")


class SamplingDefaults(Strict):
    """What a request that says nothing gets; `max_tokens` caps each candidate."""

    temperature: float = Field(1.0, gt=0, le=2, description="Searches always sample above zero.")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int | None = Field(None, ge=1)
    min_p: float | None = Field(None, ge=0, le=1)
    max_tokens: int = Field(512, ge=1)


class Price(Strict):
    """Money per million tokens, in any one currency."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


def _complain_once(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """Say what is wrong with what was meant, a URL or a list of them, not with both."""
    try:
        return read(value)
    except ValidationError as error:
        raise ValueError(error.errors()[-1 if isinstance(value, list | tuple) else 0]["msg"]) from None


Roots = Annotated[
    AnyHttpUrl | Annotated[tuple[AnyHttpUrl, ...], Field(min_length=1)] | None, WrapValidator(_complain_once)
]


class Engine(Strict):
    """A vLLM server, or several alike: used where it has a `url`, started by `mull up` from `model` where it has none.

    Of several each request goes to the one that has most of its prompt in its cache, see `service.engines.affinity`.
    """

    role: ClassVar[str] = "engine"

    model: str = Field(description="A folder in Hugging Face format, or a hub name: what vLLM loads.")
    url: Roots = Field(None, description="Root of a running server, without /v1; of several that serve alike, a list.")
    replicas: int = Field(1, ge=1, description="How many servers `mull up` starts where there is no url.")
    served_name: str | None = Field(None, description="The name the server knows the model by; default: `model`.")
    api_key_env: str | None = Field(None, description="Environment variable that holds the server's API key.")
    slots: int = Field(64, ge=1, description="Requests in flight to each of its servers, per worker replica.")
    timeout_s: float = Field(60, gt=0, description="Longest silence from the engine before it counts as hung.")
    flags: tuple[str, ...] = Field((), description="Extra arguments for a server that `mull up` starts.")
    revision: str | None = Field(
        None, description="Part of the name under which outputs are kept: change it when the weights have changed."
    )

    @model_validator(mode="after")
    def _replicas_are_distinct(self) -> Self:
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("url names a server twice")
        if self.replicas > 1 and self.urls and len(self.urls) != self.replicas:
            raise ValueError("replicas is for servers that mull up starts: leave it out where there is a url")
        return self

    @property
    def urls(self) -> tuple[AnyHttpUrl, ...]:
        """The roots of all its servers; none where it is still to be started."""
        if self.url is None:
            return ()
        return self.url if isinstance(self.url, tuple) else (self.url,)

    @property
    def capacity(self) -> int:
        """Requests in flight to all of its servers together."""
        return self.slots * max(1, len(self.urls))

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.role} {self.name!r}"

    @property
    def name(self) -> str:
        """The model name to send to the server."""
        return self.served_name or self.model

    @property
    def arguments(self) -> tuple[str, ...]:
        """What a server that `mull up` starts is given beside what every engine gets."""
        return self.flags

    @property
    def api_key(self) -> SecretStr | None:
        """The key itself, read from the environment."""
        value = os.environ.get(self.api_key_env) if self.api_key_env else None
        return SecretStr(value) if value else None


class StepForm(Strict):
    """How a policy's text is cut into steps, each of which the reward model scores and a search may build on."""

    separators: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("\n\n",), description="Each ends a step; of several at one place the longest."
    )
    headings: tuple[Annotated[str, Field(pattern=r"^[^\n]*[^\s][^\n]*$")], ...] = Field(
        (), description="Each begins a step where it begins a line: `## Step`, `Step N:`. N alone is any number."
    )
    thinking: Literal["tags", "opened", "steps"] = Field(
        "tags",
        description="What a thinking part in front of the solution is. tags: <think>…</think> is no step. opened: the "
        "same, and the chat template has written <think> already. steps: it is cut into steps like the rest.",
    )
    end_at_answer: bool = Field(True, description="A finished step that holds a \\boxed{…} answer is the last one.")


class PolicySettings(Engine):
    """A policy model: what writes solutions."""

    role: ClassVar[str] = "policy"

    prompt: PromptForm = PromptForm()
    steps: StepForm = StepForm()
    sampling: SamplingDefaults = SamplingDefaults()
    price: Price | None = None


class RewardSettings(Engine):
    """A reward model: what judges steps. What is not said comes from its preset, if it has one.

    A `model` that a preset names has that preset unless it says how it is read.
    """

    role: ClassVar[str] = "reward model"

    preset: str | None = Field(None, description="One of the reward models that `mull reward presets` lists.")
    family: FamilySpec = Field(LabelToken(), description="How it is asked and read: a name, or one with parameters.")
    shares: str | None = Field(None, description="The policy whose engine judges as well: it is not started twice.")
    math_only: bool = Field(False, description="Show it formulas and numbers only, without the words between them.")
    price: Price | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        name = data.get("preset")
        if name is None and "family" not in data:
            name = next((name for name, preset in PRESETS.items() if preset.model == data.get("model")), None)
        if name is None:
            return data
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name!r}; known: {', '.join(PRESETS)}")
        preset = PRESETS[name]
        shipped = Path(__file__).resolve().parent.parent / preset.model
        found = {"model": str(shipped), "served_name": shipped.name} if shipped.is_dir() else {"model": preset.model}
        return {**found, "family": preset.family, **data, "preset": name}

    @property
    def arguments(self) -> tuple[str, ...]:
        """The preset's arguments for vLLM, then one's own."""
        return (*(PRESETS[self.preset].arguments if self.preset is not None else ()), *self.flags)


class GatewaySettings(Strict):
    """The HTTP front."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    max_body_bytes: int = Field(1_000_000, ge=1024)
    body_timeout_s: float = Field(10, gt=0, description="Longest that a request's body may take to arrive.")
    drain_s: int = Field(
        5, ge=0, le=86_400, description="Longest that open requests go on when the gateway is told to stop, in seconds."
    )

    @property
    def url(self) -> str:
        """Where this machine reaches the gateway: one that listens everywhere is reached on 127.0.0.1."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _redis_url(url: SecretStr) -> SecretStr:
    problem = redis_url_problem(url.get_secret_value())
    if problem is not None:
        raise ValueError(problem)
    return url


class RedisSettings(Strict):
    """Where results and scores are kept. Without a `url`, `mull up` starts an embedded Valkey server.

    `enabled: false` does without. The `url` begins with `redis://`, `rediss://` (TLS) or `unix://`, and may hold the
    password: `rediss://:secret@host:6380/0?ssl_ca_certs=/etc/ssl/redis-ca.pem`.
    """

    enabled: bool = True
    url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    password_env: str | None = Field(
        None, description="Environment variable that holds the server's password, where the URL does not."
    )
    ttl_s: int = Field(86_400, ge=1, description="How long the result of a search is kept.")
    max_value_bytes: int = Field(4_000_000, ge=1024, description="Largest result that is kept, compressed.")
    trace_ttl_s: int = Field(3600, ge=1, description="How long the trace of a search that was asked for one is kept.")
    timeout_ms: int = Field(50, ge=1, description="Longest that a request waits for a Redis that is late, in all.")

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_env is not None and self.url is not None and redis_url_password(self.url.get_secret_value()):
            raise ValueError("password_env is set, and the url holds a password too: take one of them away")
        return self


class JobSettings(Strict):
    """Searches in the background, of `POST /v1/responses`: they are kept in Redis, and not served without it."""

    deadline_ms: int = Field(3_600_000, ge=1, description="Latest deadline of a job, from when its search begins.")
    default_deadline_ms: int = Field(600_000, ge=1, description="For jobs that name none.")
    at_once: int = Field(32, ge=1, description="Jobs that one gateway has in hand at the same time.")
    unfinished: int = Field(1000, ge=1, description="Most jobs that wait or run, of all gateways; more get a 503.")
    ttl_s: int = Field(86_400, ge=1, description="How long a job is kept when it has ended.")
    lease_s: float = Field(10, ge=1, description="How soon another gateway takes up a job whose gateway is lost.")


class ScoreSettings(Strict):
    """What is remembered of scores: a step that any search has had scored is not scored again.

    Each search remembers its own in any case.
    """

    size: int = Field(100_000, ge=0, description="Scores that a worker keeps of each reward model; 0: none at all.")
    ttl_s: int = Field(604_800, ge=0, description="How long Redis, where there is one, keeps a score; 0: not at all.")


class RaySettings(Strict):
    """Where the search workers run, and how many. Without an `address`, `mull up` starts a one-node cluster.

    With `max_replicas` above `replicas` there are as many as the searches in flight ask for.
    """

    address: str | None = Field(
        None, description="A running cluster's, as `ray.init` takes it; the gateway's machine is one of its nodes."
    )
    replicas: int = Field(1, ge=1, description="Search workers; the fewest of them where `max_replicas` is more.")
    max_replicas: int | None = Field(None, ge=1, description="Most search workers; default: always `replicas`.")
    searches_per_replica: int = Field(256, ge=1, description="Most searches in flight in one worker.")
    target_searches: int | None = Field(
        None, ge=1, description="Searches in flight per worker that scaling aims at; default: half of the most."
    )
    upscale_delay_s: float = Field(5, ge=0, description="How long more workers must be missing before they start.")
    downscale_delay_s: float = Field(300, ge=0, description="How long a worker must be one too many before it ends.")
    cpus_per_replica: float = Field(
        0, ge=0, description="Processors that Ray sets aside for each worker; a cluster grows by itself only above 0."
    )

    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Where a Ray that `mull up` starts tells Prometheus of the workers; default: a free port.",
    )

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, which is less than replicas: {self.replicas}")
        if self.target_searches is not None and self.target_searches > self.searches_per_replica:
            most = self.searches_per_replica
            raise ValueError(f"target_searches is {self.target_searches}, and a worker takes no more than {most}")
        return self

    @property
    def most(self) -> int:
        """Most search workers that there can be."""
        return self.max_replicas or self.replicas

    @property
    def target(self) -> int:
        """Searches in flight per worker that scaling aims at."""
        return self.target_searches or max(1, self.searches_per_replica // 2)


class DoorSettings(Strict):
    """Who is let in, and how much at once. Keys are asked for as soon as there are any: see `mull keys add`."""

    open: bool = Field(
        False, description="Serve without keys also where other machines can reach the gateway; never beside keys."
    )
    keys_file: Path | None = Field(None, description="Where the keys' hashes are kept; default: state_dir/keys.json.")
    tokens_in_flight: int = Field(
        4_000_000,
        ge=1,
        description="Most tokens that the searches which one gateway has admitted may generate or score. A search that "
        "alone needs more is admitted alone.",
    )
    tokens_waiting: int = Field(
        16_000_000, ge=0, description="Most tokens of the searches that wait for admission; what is more gets a 503."
    )
    cors_origins: tuple[str, ...] = Field((), description="Web pages that may call the gateway; default: none.")


class Limits(Strict):
    """Server-side caps on what one request may ask for."""

    samples: int = Field(256, ge=1)
    max_tokens: int = Field(1_000_000, ge=1, description="Most tokens of one candidate that a request may ask for.")
    question_chars: int = Field(100_000, ge=1)
    deadline_ms: int = Field(600_000, ge=1)
    default_deadline_ms: int = Field(120_000, ge=1)


class Settings(Strict):
    """All of it."""

    gateway: GatewaySettings = GatewaySettings()
    policies: dict[str, PolicySettings] = Field(min_length=1)
    reward_models: dict[str, RewardSettings] = Field({})
    models: dict[str, PublicModel] = Field(min_length=1)
    redis: RedisSettings = RedisSettings()
    scores: ScoreSettings = ScoreSettings()
    jobs: JobSettings = JobSettings()
    ray: RaySettings = RaySettings()
    doors: DoorSettings = DoorSettings()
    limits: Limits = Limits()
    tracing: TracingSettings = TracingSettings()
    state_dir: Path = Field(Path(".mull"), description="Logs, and what `mull down` needs to know.")

    @model_validator(mode="before")
    @classmethod
    def _shared_engines(cls, data: Any) -> Any:
        return with_shared_engines(data) if isinstance(data, dict) else data

    def reward_of(self, model: str) -> RewardSettings | None:
        """Return the reward model that judges the solutions of a public model, if one does."""
        name = self.models[model].reward
        return None if name is None else self.reward_models[name]

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        for name, model in self.models.items():
            if model.policy not in self.policies:
                raise ValueError(f"models.{name}.policy is {model.policy!r}: not in policies {sorted(self.policies)}")
            if model.reward is not None and model.reward not in self.reward_models:
                known = sorted(self.reward_models)
                raise ValueError(f"models.{name}.reward is {model.reward!r}: not in reward_models {known}")
            for alias in model.aliases:
                if alias in self.models or any(alias in m.aliases for m in self.models.values() if m is not model):
                    raise ValueError(f"models.{name}.aliases.{alias}: another model has that name")
        for name, reward in self.reward_models.items():
            if reward.shares is not None and reward.shares not in self.policies:
                known = sorted(self.policies)
                raise ValueError(f"reward_models.{name}.shares is {reward.shares!r}: not in policies {known}")
        return self

    def named(self, name: str) -> tuple[str, Effort | None] | None:
        """Return the model that clients mean by `name`, and how it is searched where that is fixed: by an alias.

        `None` where there is no such name.
        """
        if name in self.models:
            return name, None
        return next(((base, model.fixed(name)) for base, model in self.models.items() if name in model.aliases), None)
