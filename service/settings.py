"""The one typed configuration, built once and passed down; `service.settings_file` reads it from `mull.yaml`.

Unknown keys are errors: a misspelt option must not be ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, model_validator

from reward_models.label_token import LabelToken
from reward_models.presets import PRESETS
from reward_models.registry import FamilySpec
from service.public_model import Effort
from service.public_model import PublicModel as PublicModel
from service.public_model import ReasoningEffort as ReasoningEffort
from service.shared_engines import with_shared_engines
from service.strict import Strict


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


class Engine(Strict):
    """A vLLM server: used where it has a `url`, started by `mull up` from `model` where it has none."""

    model: str = Field(description="A folder in Hugging Face format, or a hub name: what vLLM loads.")
    url: AnyHttpUrl | None = Field(None, description="Root of a running server, without /v1.")
    served_name: str | None = Field(None, description="The name the server knows the model by; default: `model`.")
    api_key_env: str | None = Field(None, description="Environment variable that holds the server's API key.")
    slots: int = Field(64, ge=1, description="Requests in flight to this engine, per worker replica.")
    timeout_s: float = Field(60, gt=0, description="Longest silence from the engine before it counts as hung.")
    flags: tuple[str, ...] = Field((), description="Extra arguments for a server that `mull up` starts.")

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

    prompt: PromptForm = PromptForm()
    steps: StepForm = StepForm()
    sampling: SamplingDefaults = SamplingDefaults()
    price: Price | None = None


class RewardSettings(Engine):
    """A reward model: what judges steps. What is not said comes from its preset, if it has one.

    A `model` that a preset names has that preset unless it says how it is read.
    """

    preset: str | None = Field(None, description="One of the reward models that `mull reward presets` lists.")
    family: FamilySpec = Field(LabelToken(), description="How it is asked and read: a name, or one with parameters.")
    shares: str | None = Field(None, description="The policy whose engine judges as well: it is not started twice.")
    math_only: bool = Field(False, description="Show it formulas and numbers only, without the words between them.")
    revision: str | None = Field(
        None, description="Part of the name under which scores are kept: change it when the weights have changed."
    )
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

    @property
    def url(self) -> str:
        """Where this machine reaches the gateway: one that listens everywhere is reached on 127.0.0.1."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def _redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    return url


class RedisSettings(Strict):
    """Where results and scores are kept. Without a `url`, `mull up` starts an embedded Valkey server.

    `enabled: false` does without.
    """

    enabled: bool = True
    url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    ttl_s: int = Field(86_400, ge=1, description="How long the result of a search is kept.")
    trace_ttl_s: int = Field(3600, ge=1, description="How long the trace of a search that was asked for one is kept.")
    timeout_ms: int = Field(50, ge=1, description="Longest that a request waits for Redis before going on without it.")


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
    """Where the search workers run. Without an `address`, `mull up` starts a one-node cluster."""

    address: str | None = None
    replicas: int = Field(1, ge=1)
    searches_per_replica: int = Field(256, ge=1)


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
