"""`mull serve` in front of servers that list their models; what it makes of the configuration."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.cli.serve import engine_at, in_front_of
from service.settings import PolicySettings, RewardSettings
from service.settings_file import PACKAGED, load_settings
from strategies.majority_vote import MajorityVote
from strategies.sample import Greedy


class Listing(http.server.BaseHTTPRequestHandler):
    """Answers /v1/models as vLLM does, and nothing else."""

    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": "some/policy"}]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server that lists one model."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listing) as listing:
        threading.Thread(target=listing.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listing.server_port}"
        listing.shutdown()


def test_no_engine_is_started_for_a_url(server: str, own_environment: dict[str, str]) -> None:
    """With both URLs, only Redis, the workers and the gateway are to be started."""
    urls = ["--policy-url", server, "--reward-url", server]
    done = CliRunner().invoke(app, ["serve", *urls, "--dry-run"], env=own_environment)
    assert done.exit_code == 0, done.output
    started = [line.split(":")[0] for line in done.output.splitlines() if line.startswith("# ")]
    assert started == ["# redis", "# workers", "# gateway"]


def test_several_servers_of_one_policy(server: str, own_environment: dict[str, str]) -> None:
    """The option is given once for each; what is no URL is told in one line."""
    configured = load_settings(PACKAGED, {})
    policy = engine_at(configured.policies, PolicySettings, [server, "http://10.0.0.2:8000"], None, None)
    assert [str(url) for url in policy.urls] == [f"{server}/", "http://10.0.0.2:8000/"]
    urls = ["--policy-url", server, "--policy-url", "nonsense"]
    done = CliRunner().invoke(app, ["serve", *urls, "--dry-run"], env=own_environment)
    assert done.exit_code == 2
    assert "nonsense: Input should be a valid URL" in done.output


def test_url_where_no_vllm_answers(own_environment: dict[str, str]) -> None:
    """The error names the URL and what is expected there, in one line, with exit code 2."""
    done = CliRunner().invoke(app, ["serve", "--policy-url", "http://127.0.0.1:9/v1"], env=own_environment)
    assert done.exit_code == 2
    assert "http://127.0.0.1:9/v1: no vLLM server lists its models there" in done.output
    assert "without /v1" in done.output


def test_clients_keep_the_name_of_the_policy() -> None:
    """The one model is called what vLLM calls it, and is judged by the reward model given."""
    policy = PolicySettings.model_validate({"model": "some/policy", "url": "http://127.0.0.1:1"})
    reward = RewardSettings.model_validate({"model": "some/prm", "url": "http://127.0.0.1:2"})
    settings = in_front_of(load_settings(PACKAGED, {}), policy, reward)
    assert list(settings.models) == ["some/policy"]
    assert settings.models["some/policy"].reward == "some/prm"
    assert settings.policies["some/policy"] == policy


def test_efforts_vote_where_nothing_judges() -> None:
    """Without a reward model no effort asks for one."""
    policy = PolicySettings.model_validate({"model": "some/policy", "url": "http://127.0.0.1:1"})
    settings = in_front_of(load_settings(PACKAGED, {}), policy, None)
    efforts = settings.models["some/policy"].efforts
    assert settings.models["some/policy"].reward is None
    assert efforts["medium"].strategy == MajorityVote(samples=16)
    assert efforts["none"].strategy == Greedy()
