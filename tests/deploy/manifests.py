"""The manifests of deploy/k8s as `kubectl apply -k` would send them, and what can be asked of them."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
OVERLAYS = ("plain", "kuberay")

Object = dict[str, Any]


def why_not() -> str | None:
    """Return why no overlay can be built here; `None` where one can. In CI one must."""
    if shutil.which("kubectl") or shutil.which("kustomize") or "CI" in os.environ:
        return None
    return "neither kubectl nor kustomize is installed"


def built(folder: Path) -> list[Object]:
    """Return the objects of an overlay."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    run = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [item for item in yaml.safe_load_all(run.stdout) if item]


def of_kind(objects: list[Object], *kinds: str) -> dict[str, Object]:
    """Return the objects of some kinds by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] in kinds}


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield each pod template, as a Pod, by the name of what makes it."""
    for name, item in of_kind(objects, "Deployment", "StatefulSet").items():
        yield name, _pod(name, item["spec"]["template"])
    for item in of_kind(objects, "RayService").values():
        cluster = item["spec"]["rayClusterConfig"]
        yield "ray-head", _pod("ray-head", cluster["headGroupSpec"]["template"])
        for group in cluster["workerGroupSpecs"]:
            yield "ray-worker", _pod("ray-worker", group["template"])


def _pod(name: str, template: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **template["metadata"]},
        "spec": template["spec"],
    }


def labels(pod: Object) -> Mapping[str, str]:
    """Return a pod's labels."""
    return dict(pod["metadata"]["labels"])


def selects(selector: Object, pod: Object) -> bool:
    """Tell whether a label selector selects a pod; an empty one selects all."""
    return selector.get("matchLabels", {}).items() <= labels(pod).items()


def may_reach(objects: list[Object], source: Object, target: Object) -> bool:
    """Tell whether the network policies let one pod of the namespace open a connection to another."""
    policies = [
        p["spec"] for p in of_kind(objects, "NetworkPolicy").values() if selects(p["spec"]["podSelector"], target)
    ]
    return not policies or any(
        any("namespaceSelector" not in peer and selects(peer["podSelector"], source) for peer in rule["from"])
        if "from" in rule
        else True
        for policy in policies
        for rule in policy.get("ingress", [])
    )
