"""The one typed configuration, built once and passed down; `service.settings_file` reads it from `mull.yaml`.

Unknown keys are errors: a misspelt option must not be ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, model_validator

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high"]


class Strict(BaseModel):
    """A model that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    """A reward model: what judges steps. `family` names the class in `reward_models` that reads it."""

    family: Literal["label_token"] = "label_token"
    good_token: str = Field("<good>", description="Label token that means 'right so far'.")
    bad_token: str = Field("<bad>", description="Label token that means 'wrong'.")
    step_separator: str = Field("\n\n", min_length=1)
    price: Price | None = None


class Effort(Strict):
    """What one value of `reasoning_effort` buys."""

    strategy: Literal["greedy", "sample", "majority_vote", "best_of_n"]
    samples: int | None = Field(None, ge=1)


DEFAULT_EFFORTS: dict[ReasoningEffort, Effort] = {
    "none": Effort(strategy="greedy"),
    "minimal": Effort(strategy="sample"),
    "low": Effort(strategy="best_of_n", samples=4),
    "medium": Effort(strategy="best_of_n", samples=16),
    "high": Effort(strategy="best_of_n", samples=64),
}


class PublicModel(Strict):
    """A name clients may ask for: a policy, and the reward model that judges it, if any."""

    policy: str
    reward: str | None = None
    default_effort: ReasoningEffort | None = Field(None, description="For requests that say nothing; default: sample.")
    efforts: dict[ReasoningEffort, Effort] = DEFAULT_EFFORTS


class GatewaySettings(Strict):
    """The HTTP front."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)
    max_body_bytes: int = Field(1_000_000, ge=1024)

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
    """The result cache. Without a `url`, `mull up` starts an embedded Valkey server; `enabled: false` does without."""

    enabled: bool = True
    url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    ttl_s: int = Field(86_400, ge=1)
    timeout_ms: int = Field(50, ge=1, description="Longest that a request waits for Redis before going on without it.")


class RaySettings(Strict):
    """Where the search workers run. Without an `address`, `mull up` starts a one-node cluster."""

    address: str | None = None
    replicas: int = Field(1, ge=1)
    searches_per_replica: int = Field(256, ge=1)


class Limits(Strict):
    """Server-side caps on what one request may ask for."""

    samples: int = Field(256, ge=1)
    question_chars: int = Field(100_000, ge=1)
    deadline_ms: int = Field(600_000, ge=1)
    default_deadline_ms: int = Field(120_000, ge=1)


class Settings(Strict):
    """All of it."""

    gateway: GatewaySettings = GatewaySettings()
    policies: dict[str, PolicySettings] = Field(min_length=1)
    reward_models: dict[str, RewardSettings] = {}
    models: dict[str, PublicModel] = Field(min_length=1)
    redis: RedisSettings = RedisSettings()
    ray: RaySettings = RaySettings()
    limits: Limits = Limits()
    state_dir: Path = Field(Path(".mull"), description="Logs, and what `mull down` needs to know.")

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        for name, model in self.models.items():
            if model.policy not in self.policies:
                raise ValueError(f"models.{name}.policy is {model.policy!r}: not in policies {sorted(self.policies)}")
            if model.reward is not None and model.reward not in self.reward_models:
                known = sorted(self.reward_models)
                raise ValueError(f"models.{name}.reward is {model.reward!r}: not in reward_models {known}")
        return self
