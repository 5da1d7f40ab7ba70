import socket
from itertools import islice
from pathlib import Path

import pytest

from service.errors import StackError
from service.settings import Settings
from service.settings_file import load_settings, save_settings
from service.stack import plan as planning
from service.stack.plan import Part, Plan, plan_stack
from service.stack.ports import free_ports, is_free
from service.stack.state import StateDir

CONFIG = {
    "policies": {"p": {"model": "a/policy", "flags": ["--dtype", "bfloat16"]}, "unused": {"model": "x"}},
    "reward_models": {"r": {"model": "a/prm"}},
    "models": {"m": {"policy": "p", "reward": "r"}},
}


def plan_for(tmp_path: Path, profile: planning.Profile = "cpu", **more: object) -> Plan:
    settings = Settings.model_validate({**CONFIG, "gateway": {"port": next(free_ports())}, **more})
    return plan_stack(settings, profile=profile, state_dir=StateDir(tmp_path), scratch=tmp_path)


def parts_of(plan: Plan) -> dict[str, Part]:
    return {part.name: part for part in plan.parts}


@pytest.fixture(autouse=True)
def _vllm_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "find_spec", lambda name: object())


def test_everything_without_an_address_is_started(tmp_path: Path) -> None:
    """A bare configuration starts all parts; engines that no model uses are left out."""
    assert list(parts_of(plan_for(tmp_path))) == ["redis", "policy-p", "reward-r", "workers", "gateway"]


def test_whatever_has_an_address_is_used(tmp_path: Path) -> None:
    """With all addresses given only the workers and the gateway are left to start, and Ray is joined."""
    plan = plan_for(
        tmp_path,
        policies={"p": {"model": "m", "url": "http://10.0.0.1:8000"}},
        reward_models={"r": {"model": "m", "url": "http://10.0.0.2:8000"}},
        redis={"url": "redis://10.0.0.3"},
        ray={"address": "10.0.0.4:6379"},
    )
    assert list(parts_of(plan)) == ["workers", "gateway"]
    assert "--head" not in parts_of(plan)["workers"].command
    assert plan.settings.ray.address == "10.0.0.4:6379"


def test_settings_of_the_children_name_every_address(tmp_path: Path) -> None:
    """What is started is where the effective settings say."""
    plan = plan_for(tmp_path)
    parts, settings = parts_of(plan), plan.settings
    assert str(settings.policies["p"].url) == parts["policy-p"].url + "/"
    assert str(settings.reward_models["r"].url) == parts["reward-r"].url + "/"
    assert settings.ray.address == parts["workers"].url
    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == parts["redis"].url
    assert list(settings.policies) == ["p"]


def test_no_redis_where_it_is_switched_off(tmp_path: Path) -> None:
    """Without the cache there is no server for it."""
    assert "redis" not in parts_of(plan_for(tmp_path, redis={"enabled": False}))


def test_cpu_profile_keeps_seeds_from_killing_the_engine(tmp_path: Path) -> None:
    """Without chunked prefill a request with a seed is harmless; an engine's own flags come last and win."""
    part = parts_of(plan_for(tmp_path))["policy-p"]
    assert "--no-enable-chunked-prefill" in part.command
    assert part.command[-2:] == ["--dtype", "bfloat16"]
    assert part.environment["TORCHDYNAMO_DISABLE"] == "1"


def test_gpu_profile_shares_the_card(tmp_path: Path) -> None:
    """On a GPU the engines start one after the other, each with its part of the memory, and no CPU flags."""
    parts = parts_of(plan_for(tmp_path, profile="gpu"))
    assert parts["reward-r"].after == ("policy-p",)
    assert "0.45" in parts["policy-p"].command
    assert "--no-enable-chunked-prefill" not in parts["policy-p"].command


def test_replicas_are_servers_of_their_own(tmp_path: Path) -> None:
    """As many as are asked for, on ports of their own, under numbered names; the effective settings have all URLs."""
    plan = plan_for(tmp_path, policies={"p": {"model": "a/policy", "replicas": 3}})
    parts = parts_of(plan)
    assert [name for name in parts if name.startswith("policy")] == ["policy-p", "policy-p-2", "policy-p-3"]
    urls = [f"{parts[name].url}/" for name in ("policy-p", "policy-p-2", "policy-p-3")]
    assert [str(url) for url in plan.settings.policies["p"].urls] == urls
    assert len(set(urls)) == 3
    assert len(plan.settings.reward_models["r"].urls) == 1


def test_replicas_share_the_card_too(tmp_path: Path) -> None:
    """They start one after the other, each with its part of the memory."""
    parts = parts_of(plan_for(tmp_path, profile="gpu", policies={"p": {"model": "a/policy", "replicas": 2}}))
    assert parts["policy-p-2"].after == ("policy-p",)
    assert parts["reward-r"].after == ("policy-p", "policy-p-2")
    assert all("0.30" in parts[name].command for name in ("policy-p", "policy-p-2", "reward-r"))


def test_a_judge_that_shares_a_policy_has_all_its_servers(tmp_path: Path) -> None:
    """It starts none of its own."""
    policies = {"p": {"model": "a/policy", "replicas": 2}}
    plan = plan_for(tmp_path, policies=policies, reward_models={}, models={"m": {"policy": "p", "judge": "same"}})
    assert not any(name.startswith("reward") for name in parts_of(plan))
    judge = plan.settings.reward_of("m")
    assert judge is not None
    assert judge.urls == plan.settings.policies["p"].urls
    assert len(judge.urls) == 2


def test_the_effective_settings_with_replicas_can_be_read_again(tmp_path: Path) -> None:
    """The workers and the gateway read them from a file."""
    plan = plan_for(tmp_path, policies={"p": {"model": "a/policy", "replicas": 2}})
    save_settings(plan.settings, tmp_path / "effective.yaml")
    assert load_settings(tmp_path / "effective.yaml", environ={}) == plan.settings


def test_every_server_stays_on_this_machine(tmp_path: Path) -> None:
    """Nothing but the gateway could be reached from outside, and that only if told so."""
    parts = parts_of(plan_for(tmp_path))
    for name in ("policy-p", "reward-r", "gateway"):
        command = parts[name].command
        assert command[command.index("--host") + 1] == "127.0.0.1"
    assert parts["redis"].url.startswith("unix://")
    assert parts["workers"].environment["RAY_AUTH_MODE"] == "token"


def test_taken_gateway_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    """The error names the port and how to choose another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} on 127.0.0.1 is taken") as caught:
            plan_for(tmp_path, gateway={"port": port})
    assert "MULL_GATEWAY__PORT" in caught.value.hint


def test_missing_vllm_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install cannot start engines, and says what can be done."""
    monkeypatch.setattr(planning, "find_spec", lambda name: None)
    with pytest.raises(StackError, match="vLLM is not installed") as caught:
        plan_for(tmp_path)
    assert "mull serve" in caught.value.hint


def test_ports_are_free_and_distinct() -> None:
    """Ports come from below the range of outgoing connections, and one that is in use is not given."""
    ports = list(islice(free_ports(), 20))
    assert len(set(ports)) == 20
    assert all(20_000 <= port < 32_768 for port in ports)
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[0]))
        other.listen()
        assert not is_free(ports[0])


def test_every_part_says_where_its_metrics_are(tmp_path: Path) -> None:
    """The workers' are Ray's, on a free port that Ray and the gateway are both told; Redis has none of this kind."""
    plan = plan_for(tmp_path)
    parts, port = parts_of(plan), plan.settings.ray.metrics_port
    assert parts["workers"].metrics == f"http://127.0.0.1:{port}/metrics"
    assert str(port) in parts["workers"].command
    assert parts["policy-p"].metrics == f"{parts['policy-p'].url}/metrics"
    assert parts["gateway"].metrics == f"{parts['gateway'].url}/metrics"
    assert parts["redis"].metrics is None


def test_port_of_the_metrics_can_be_chosen(tmp_path: Path) -> None:
    """Where it is taken, that is told."""
    port = next(free_ports())
    plan = plan_for(tmp_path, ray={"metrics_port": port})
    assert parts_of(plan)["workers"].metrics == f"http://127.0.0.1:{port}/metrics"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError, match="the workers' metrics"):
        plan_for(tmp_path, ray={"metrics_port": port})


def test_metrics_of_a_ray_that_was_there_are_its_own_affair(tmp_path: Path) -> None:
    """It is not known on which port its nodes tell them."""
    assert parts_of(plan_for(tmp_path, ray={"address": "10.0.0.4:6379"}))["workers"].metrics is None
