"""The search workers as an application of Ray Serve: the same one on a laptop, on a cluster and under KubeRay.

`mull up` deploys it through `deploy`. A RayService names `service.serve_app:build` as its `import_path`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application

from service.errors import ConfigError
from service.settings import Settings
from service.settings_file import load_settings
from service.worker import SearchWorker

APPLICATION = "mull"
"""The name under which the gateway finds the application: a RayService must give it the same one."""
LOOK_BACK_S = 12.0
"""Scaling goes by the mean number of searches in flight over this time; gateways tell it every ten seconds."""
DRAIN_LOOP_S = 0.5
SURGE_PERCENT = 25
HEALTH_PERIOD_S, HEALTH_LIMIT_S = 10.0, 30.0
"""How often a worker's health is asked for, and how long one answer may take; three bad ones replace it."""


def build(args: Mapping[str, str]) -> Application:
    """Return the application that the configuration describes: what Serve calls where it is given an import path.

    The configuration is read on the node that builds, as `mull` reads it: from the file that `args["config"]` or
    MULL_CONFIG names, with MULL_… variables laid over it. Raises `ConfigError`.
    """
    unknown = sorted(set(args) - {"config"})
    if unknown:
        raise ConfigError("args", [f"{name}: there is no such argument; known here: config" for name in unknown])
    settings = load_settings(Path(args["config"]) if "config" in args else None)
    engines = [*settings.policies.values(), *settings.reward_models.values()]
    nowhere = [engine.title for engine in engines if not engine.urls]
    if nowhere:
        raise ConfigError("the configuration", [f"{title} has no url: nothing starts it here" for title in nowhere])
    return application(settings)


def application(settings: Settings) -> Application:
    """Return the application for settings that have been read already."""
    return serve.deployment(**options(settings))(SearchWorker).bind(settings)


def options(settings: Settings) -> dict[str, Any]:
    """Return how Serve runs the workers.

    A worker that is taken away, by scaling or by an upgrade, finishes its searches first: it is given as long as the
    longest request may take. Jobs may take longer; those are made again elsewhere. An upgrade starts new workers before
    it ends old ones, a quarter of them at a time: it waits until the cluster has room for that.
    """
    wanted = settings.ray
    chosen: dict[str, Any] = {
        "max_ongoing_requests": wanted.searches_per_replica,
        "max_queued_requests": wanted.searches_per_replica,
        "ray_actor_options": {"num_cpus": wanted.cpus_per_replica},
        "graceful_shutdown_timeout_s": settings.limits.deadline_ms / 1000 + 1,
        "graceful_shutdown_wait_loop_s": DRAIN_LOOP_S,
        "health_check_period_s": HEALTH_PERIOD_S,
        "health_check_timeout_s": HEALTH_LIMIT_S,
        "max_surge_percent": SURGE_PERCENT,
    }
    if wanted.most == wanted.replicas:
        return chosen | {"num_replicas": wanted.replicas}
    return chosen | {
        "autoscaling_config": {
            "min_replicas": wanted.replicas,
            "max_replicas": wanted.most,
            "target_ongoing_requests": wanted.target,
            "upscale_delay_s": wanted.upscale_delay_s,
            "downscale_delay_s": wanted.downscale_delay_s,
            "look_back_period_s": LOOK_BACK_S,
        }
    }


def deploy(settings: Settings) -> None:
    """Put the search workers onto the Ray cluster that this process is connected to, and return when they run."""
    serve.start(proxy_location="Disabled")
    serve.run(application(settings), name=APPLICATION, route_prefix=None)
