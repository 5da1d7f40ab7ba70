"""The application of search workers, as Serve takes it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_workers import settings
from pydantic import ValidationError
from ray.serve import Application
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from service.errors import ConfigError
from service.serve_app import APPLICATION, application, build, options
from service.settings import Settings
from service.worker import SearchWorker

ENGINE = {"model": "some/policy", "url": "http://engine:8000"}


def configured(**ray: Any) -> Settings:
    """Settings with an engine that runs elsewhere."""
    return settings(policies={"p": ENGINE}, reward_models={}, models={"bare": {"policy": "p"}}, ray=ray)


def deployed(app: Application) -> dict[str, Any]:
    """What Serve makes of an application: its only deployment's options, and what its replicas are made of."""
    (deployment,) = build_app(app, name=APPLICATION).deployments
    config = deployment._deployment_config.model_dump(exclude={"user_configured_option_names"})
    actor = deployment._replica_config
    return {
        "config": config,
        "actor": actor.ray_actor_options,
        "class": actor.deployment_def,
        "settings": actor.init_args,
    }


def written(folder: Path, **ray: Any) -> Path:
    """A configuration file."""
    path = folder / "mull.yaml"
    path.write_text(yaml.safe_dump({"policies": {"p": ENGINE}, "models": {"bare": {"policy": "p"}}, "ray": ray}))
    return path


@pytest.mark.parametrize("ray", [{}, {"replicas": 2, "max_replicas": 5}])
def test_import_path_gives_what_mull_deploys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray: Any) -> None:
    """A RayService that names the builder runs what `mull up` runs: every option, and the settings of every worker."""
    monkeypatch.setenv("MULL_CONFIG", str(written(tmp_path, **ray)))
    found = deployed(build({}))
    (read,) = found["settings"]
    assert found == deployed(application(read))
    assert found["class"] is SearchWorker or found["class"].__name__ == "SearchWorker"
    assert read.policies["p"].model == "some/policy"


def test_config_can_be_named_as_an_argument(tmp_path: Path) -> None:
    """As `args: {config: …}` of a Serve application."""
    path = written(tmp_path, replicas=3)
    assert deployed(build({"config": str(path)}))["config"]["num_replicas"] == 3


def test_argument_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """Nothing is accepted and ignored."""
    with pytest.raises(ConfigError, match="replicas: there is no such argument"):
        build({"config": str(written(tmp_path)), "replicas": "3"})


def test_engine_without_url_is_refused(tmp_path: Path) -> None:
    """Under KubeRay nothing starts engines."""
    path = tmp_path / "mull.yaml"
    path.write_text(yaml.safe_dump({"policies": {"p": {"model": "m"}}, "models": {"bare": {"policy": "p"}}}))
    with pytest.raises(ConfigError, match="policy 'm' has no url"):
        build({"config": str(path)})


def test_serve_config_of_a_ray_service_is_valid() -> None:
    """What stands in `serveConfigV2`: the builder by its import path, no HTTP of Ray's own."""
    config = {
        "proxy_location": "Disabled",
        "applications": [
            {
                "name": APPLICATION,
                "import_path": "service.serve_app:build",
                "route_prefix": None,
                "args": {"config": "/etc/mull/mull.yaml"},
            }
        ],
    }
    assert ServeDeploySchema.model_validate(config).applications[0].name == "mull"


def test_one_worker_is_the_default() -> None:
    """A laptop scales nothing."""
    chosen = options(configured())
    assert (chosen["num_replicas"], chosen.get("autoscaling_config")) == (1, None)
    assert options(configured(replicas=2, max_replicas=2))["num_replicas"] == 2


def test_scaling_goes_by_searches_in_flight() -> None:
    """Between the bounds, at half of what a worker takes unless something else is said."""
    chosen = options(configured(replicas=2, max_replicas=8, searches_per_replica=100))
    assert "num_replicas" not in chosen
    scaling = chosen["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (2, 8, 50)


def test_worker_that_ends_finishes_its_searches() -> None:
    """It is given as long as the longest request may take."""
    assert options(configured())["graceful_shutdown_timeout_s"] == 601


@pytest.mark.parametrize(
    ("ray", "said"),
    [
        ({"replicas": 3, "max_replicas": 2}, "less than replicas"),
        ({"searches_per_replica": 10, "target_searches": 11}, "takes no more than 10"),
    ],
)
def test_what_serve_could_not_keep_is_refused(ray: dict[str, int], said: str) -> None:
    """While the configuration is read."""
    with pytest.raises(ValidationError, match=said):
        configured(**ray)
