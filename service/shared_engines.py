"""Reward models that have no engine of their own: the policy's judges as well."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_WHICH = ("model", "url", "replicas", "served_name", "api_key_env")
"""What says which engine it is: the policy's."""
_OWN = ("slots", "timeout_s", "price", "revision")
"""What a judge may say of its own requests; else it is as for the policy's."""


def with_shared_engines(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration with `judge: same` written out, and with the engine's options where one is shared.

    Names that do not exist are left for `Settings` to complain about.
    """
    policies = _plain(data.get("policies"))
    rewards = _plain(data.get("reward_models"))
    models = _plain(data.get("models"))
    for model in models.values():
        if isinstance(model, dict) and model.get("judge") == "same":
            name = f"{model.get('policy')}-judges"
            rewards.setdefault(name, {"family": "judge", "shares": model.get("policy")})
            if model.get("reward") not in (None, name):
                raise ValueError("a model has either a `reward` or a `judge`, not both")
            model["reward"] = name
    for name, reward in rewards.items():
        if isinstance(reward, dict) and isinstance(policy := policies.get(reward.get("shares")), dict):
            _share(name, reward, policy)
    found = {"policies": policies, "reward_models": rewards, "models": models}
    return {**data, **{key: value for key, value in found.items() if key in data or value}}


def _share(name: str, reward: dict[str, Any], policy: Mapping[str, Any]) -> None:
    """Raises `ValueError` for what a reward model says of an engine that is not its own."""
    other = [option for option in _WHICH if reward.get(option) not in (None, policy.get(option))]
    if other := other + ["flags"] * bool(reward.get("flags")):
        raise ValueError(f"reward_models.{name} shares the policy's engine: leave {', '.join(other)} out")
    reward.update({option: policy[option] for option in _WHICH if option in policy})
    for option in _OWN:
        if option in policy:
            reward.setdefault(option, policy[option])


def _plain(group: Any) -> Any:
    if not isinstance(group, Mapping):
        return {} if group is None else group
    return {name: _fields(entry) for name, entry in group.items()}


def _fields(entry: Any) -> Any:
    """Return a copy that may be changed."""
    if isinstance(entry, BaseModel):
        return entry.model_dump(exclude_unset=True)
    return dict(entry) if isinstance(entry, Mapping) else entry
