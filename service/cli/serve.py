"""`mull serve`: the service in front of vLLM servers that already run."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import httpx
import typer
from pydantic import ValidationError

from service.cli.up import Detach, DryRun, start
from service.errors import ConfigError
from service.public_model import DEFAULT_EFFORTS, Effort, PublicModel
from service.settings import Engine, PolicySettings, RewardSettings, Settings
from service.settings_file import load_settings
from strategies.best_of_n import BestOfN
from strategies.majority_vote import MajorityVote

AnyEngine = TypeVar("AnyEngine", bound=Engine)


def serve(
    policy_url: Annotated[
        list[str], typer.Option(help="Root of the vLLM server that writes, without /v1; several alike: once each.")
    ],
    reward_url: Annotated[list[str] | None, typer.Option(help="Root of the one with the reward model.")] = None,
    policy_model: Annotated[str | None, typer.Option(help="Its served name; default: the first it lists.")] = None,
    reward_model: Annotated[str | None, typer.Option(help="Its served name; default: the first it lists.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Variable with the key of both servers.")] = None,
    detach: Detach = False,
    dry_run: DryRun = False,
) -> None:
    """Put Mull in front of vLLM servers that already run; clients keep the policy's name as `model`.

    An engine configured under the same served name keeps its settings; without a reward model, efforts vote.
    """
    configured = load_settings()
    policy = engine_at(configured.policies, PolicySettings, policy_url, policy_model, api_key_env)
    reward = None
    if reward_url:
        reward = engine_at(configured.reward_models, RewardSettings, reward_url, reward_model, api_key_env)
    start(in_front_of(configured, policy, reward), detach=detach, dry_run=dry_run, profile="auto")


def in_front_of(configured: Settings, policy: PolicySettings, reward: RewardSettings | None) -> Settings:
    """Return the configuration with these engines as its only ones, and one model, named as the policy is."""
    efforts = {e: effort if reward else _unjudged(effort) for e, effort in DEFAULT_EFFORTS.items()}
    model = PublicModel(policy=policy.name, reward=reward.name if reward else None, efforts=efforts)
    update = {
        "policies": {policy.name: policy},
        "reward_models": {reward.name: reward} if reward else {},
        "models": {policy.name: model},
    }
    return configured.model_copy(update=update)


def _unjudged(effort: Effort) -> Effort:
    if not isinstance(effort.strategy, BestOfN):
        return effort
    return effort.model_copy(update={"strategy": MajorityVote(samples=effort.strategy.samples)})


def engine_at(
    configured: Mapping[str, AnyEngine],
    kind: type[AnyEngine],
    urls: Sequence[str],
    name: str | None,
    api_key_env: str | None,
) -> AnyEngine:
    """Return the settings of the servers at `urls`: the configured ones of the same served name, if there are any.

    `name` is their served name; default: the first that the first of them lists. Raises `ConfigError` where it lists
    none, and for what are no URLs.
    """
    name = name or first_listed(urls[0], api_key_env)
    at = {"url": urls[0] if len(urls) == 1 else urls, "replicas": 1}
    options: dict[str, Any] = {"model": name, "served_name": name, "api_key_env": api_key_env} | at
    for engine in configured.values():
        if engine.name == name:
            options = engine.model_dump() | at | ({"api_key_env": api_key_env} if api_key_env else {})
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise ConfigError(
            ", ".join(urls), [found["msg"].removeprefix("Value error, ") for found in error.errors()]
        ) from None


def first_listed(url: str, api_key_env: str | None) -> str:
    """Ask a server for the name of its model; raises `ConfigError` where none answers."""
    headers = {"Authorization": f"Bearer {os.environ.get(api_key_env, '')}"} if api_key_env else {}
    try:
        reply = httpx.get(f"{url.rstrip('/')}/v1/models", headers=headers, timeout=10)
        reply.raise_for_status()
        return str(reply.json()["data"][0]["id"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        problem = f"no vLLM server lists its models there ({type(error).__name__}: {error}); give its root, without /v1"
        raise ConfigError(url, [problem]) from None
