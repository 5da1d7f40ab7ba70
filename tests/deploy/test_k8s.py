"""deploy/k8s: every overlay is valid, its parts fit each other, and nothing is open that should not be."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from manifests import K8S, OVERLAYS, Object, built, labels, may_reach, of_kind, pods, selects, why_not
from ray.serve.schema import ServeDeploySchema

from deploy.compose_env import engine_arguments
from deploy.sizing import PROFILES, engines
from service.serve_app import APPLICATION
from service.settings_file import load_settings

ROOT = Path(__file__).parents[2]
CRDS = {
    crd["properties"]["kind"]["const"]: crd
    for crd in (json.loads(path.read_text()) for path in (Path(__file__).parent / "crds").glob("*.json"))
}
VERSION = "1.32"
PROFILE = PROFILES / "qwen-1.5b-prm-7b.yaml"
SECRETS = {"mull-keys", "mull-redis", "mull-ray", "mull-hub", "mull-metrics"}
"""What docs/operations.md tells to create; manifests hold no secret themselves."""
reason = why_not()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """The objects of one overlay."""
    return built(K8S / request.param)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The objects of the plain overlay, with the component for the Prometheus operator."""
    folder = tmp_path_factory.mktemp("k8s")
    for name in ("base", "plain", "monitoring"):
        (folder / name).mkdir()
        for path in (K8S / name).iterdir():
            (folder / name / path.name).write_text(path.read_text())
    with (folder / "plain" / "kustomization.yaml").open("a") as file:
        file.write("components: [../monitoring]\n")
    return built(folder / "plain")


def check(item: Object) -> None:
    """Raise for an object that its schema does not accept, or that has a key which no schema knows."""
    if item["kind"] in CRDS:
        jsonschema.Draft202012Validator(CRDS[item["kind"]]).validate(item)
    else:
        kubernetes_validate.validate(item, VERSION, strict=True)


def test_every_object_is_valid(objects: list[Object]) -> None:
    """Kubernetes' schemas, strictly, and those of custom resources; the pods that KubeRay makes are pods."""
    for item in objects:
        check(item)
    for _, pod in pods(objects):
        check(pod)


def test_the_component_for_prometheus_is_valid(watched: list[Object]) -> None:
    """What an overlay gets with it is valid too, and its monitors find services with the ports they name."""
    for item in watched:
        check(item)
    for monitor in of_kind(watched, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in of_kind(watched, "Service").values() if wanted <= s["metadata"]["labels"].items()]
        assert found
        ports = {port["name"] for service in found for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_a_key_that_no_schema_knows_is_refused() -> None:
    """The check can fail: strictly, for builtin kinds as for custom ones."""
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        check({**policy, "spec": {"podSelector": {}, "ingres": []}})
    with pytest.raises(jsonschema.ValidationError):
        check({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "x"}, "spec": {"serveConfig": ""}})


def test_whatever_is_named_is_there(objects: list[Object]) -> None:
    """ConfigMaps, claims, services, targets of scaling and budgets exist; secrets are those that the page names."""
    maps, claims = of_kind(objects, "ConfigMap"), of_kind(objects, "PersistentVolumeClaim")
    for _, pod in pods(objects):
        for volume in pod["spec"].get("volumes", []):
            assert volume.get("configMap", {"name": next(iter(maps))})["name"] in maps
            assert volume.get("persistentVolumeClaim", {"claimName": next(iter(claims))})["claimName"] in claims
            assert volume.get("secret", {"secretName": "mull-keys"})["secretName"] in SECRETS
        mounted = {mount["name"] for box in pod["spec"]["containers"] for mount in box["volumeMounts"]}
        assert mounted - {"data"} == {volume["name"] for volume in pod["spec"].get("volumes", [])}
    assert set(re.findall(r"'secretKeyRef': {[^}]*'name': '([^']+)'", str(objects))) <= SECRETS
    for scaler in of_kind(objects, "HorizontalPodAutoscaler").values():
        target = scaler["spec"]["scaleTargetRef"]
        assert target["name"] in of_kind(objects, target["kind"])
    chosen = [item["spec"]["selector"] for item in of_kind(objects, "PodDisruptionBudget").values()]
    chosen += [{"matchLabels": item["spec"]["selector"]} for item in of_kind(objects, "Service").values()]
    assert all(any(selects(selector, pod) for _, pod in pods(objects)) for selector in chosen)
    hosts = {match[1] for match in re.finditer(r"(?:http|redis)://(mull-[a-z]+):", str(objects))}
    assert hosts <= set(of_kind(objects, "Service"))


def test_engines_are_reached_from_what_searches_and_redis_from_what_remembers(objects: list[Object]) -> None:
    """An engine asks for no key: nobody but the search workers may ask it."""
    all_pods = dict(pods(objects))
    searching = {name for name, pod in all_pods.items() if name in ("mull", "ray-worker")}
    if "ray-worker" in all_pods:
        searching.remove("mull")  # there the gateway's pods run no searches
    for engine in ("mull-policy", "mull-reward"):
        assert {name for name, pod in all_pods.items() if may_reach(objects, pod, all_pods[engine])} == searching
    to_redis = {name for name, pod in all_pods.items() if may_reach(objects, pod, all_pods["mull-redis"])}
    assert to_redis == searching | {"mull"}


def test_no_container_may_more_than_it_needs(objects: list[Object]) -> None:
    """No privileges to gain, resources asked for, memory bounded; Mull's own run as no root, on a read-only root."""
    for name, pod in pods(objects):
        assert not pod["spec"].get("hostNetwork", False)
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for box in pod["spec"]["containers"]:
            locked = box["securityContext"]
            assert (locked["allowPrivilegeEscalation"], locked["capabilities"]) == (False, {"drop": ["ALL"]})
            assert {"cpu", "memory"} <= set(box["resources"]["requests"])
            assert "memory" in box["resources"]["limits"]
            if name not in ("mull-policy", "mull-reward"):  # vLLM's image runs as root
                assert locked["readOnlyRootFilesystem"] is True
                assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_engines_get_what_the_profile_says(objects: list[Object]) -> None:
    """The arguments are those that `mull up` gives the profile's engines, and its configuration is the gateway's."""
    found = engines(load_settings(PROFILE, environ={}))
    for role, engine in found.items():
        (box,) = dict(pods(objects))[f"mull-{role}"]["spec"]["containers"]
        assert [part for argument in box["args"] for part in argument.split("=", 1)] == engine_arguments(
            engine, cpu=False
        )
    assert (K8S / "base" / "mull.yaml").read_text() == PROFILE.read_text()


def variables(pod: Object) -> Iterator[tuple[str, str]]:
    """The plain variables of a pod's first container."""
    for variable in pod["spec"]["containers"][0]["env"]:
        if "value" in variable:
            yield variable["name"], variable["value"]


def test_the_configuration_loads_in_every_pod_of_ours(objects: list[Object]) -> None:
    """Gateway and workers see the same engines and the same Redis, and only the ones that exist."""
    for name, pod in pods(objects):
        if name not in ("mull", "ray-head", "ray-worker"):
            continue
        settings = load_settings(K8S / "base" / "mull.yaml", environ=dict(variables(pod)))
        urls = [str(url).rstrip("/") for engine in engines(settings).values() for url in engine.urls]
        assert urls == ["http://mull-policy:8000", "http://mull-reward:8000"]
        assert settings.redis.password_env == "REDIS_PASSWORD"


def test_an_engine_is_ready_only_once_it_has_answered(objects: list[Object]) -> None:
    """/health turns 200 before the model can answer: the start-up probe has it generate, or score, once."""
    for engine, path in (("mull-policy", "/v1/completions"), ("mull-reward", "/pooling")):
        (box,) = dict(pods(objects))[engine]["spec"]["containers"]
        code = box["startupProbe"]["exec"]["command"][-1]
        compile(code, engine, "exec")
        assert path in code


def test_the_ray_service_runs_our_application() -> None:
    """Serve accepts its configuration; the name is the gateway's, the import path is code, Ray is the locked one."""
    (item,) = of_kind(built(K8S / "kuberay"), "RayService").values()
    config: dict[str, Any] = yaml.safe_load(item["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema.model_validate(config).applications
    assert application.name == APPLICATION
    module, _, function = application.import_path.partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
    (locked,) = re.findall(r"^ray==(\S+) ", (ROOT / "deploy" / "locks" / "base.txt").read_text(), re.MULTILINE)
    assert item["spec"]["rayClusterConfig"]["rayVersion"] == locked


def test_a_worker_may_finish_its_longest_search() -> None:
    """A pod that is taken away lives at least as long as a request's latest deadline."""
    found = dict(pods(built(K8S / "kuberay")))
    longest = load_settings(K8S / "base" / "mull.yaml", environ={}).limits.deadline_ms / 1000
    assert found["ray-worker"]["spec"]["terminationGracePeriodSeconds"] > longest
    assert labels(found["ray-worker"])["mull/searches"] == "yes"
