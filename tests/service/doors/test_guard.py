import os
from pathlib import Path

import pytest
from fake_workers import settings

from service.doors.guard import Guard, check_exposure
from service.doors.keys import KeyFile, Quota, key_file
from service.errors import ConfigError, InvalidApiKey
from service.settings import Settings
from service.stack.plan import plan_stack
from service.stack.state import StateDir


def configured(tmp_path: Path, host: str = "127.0.0.1", **doors: object) -> Settings:
    """A gateway that keeps its keys in `tmp_path`."""
    return settings(state_dir=tmp_path, gateway={"host": host}, doors=doors)


def test_own_machine_needs_no_key(tmp_path: Path) -> None:
    """On loopback, without keys, everybody comes in: also who sends what OpenAI's client sends by default."""
    guard = Guard(configured(tmp_path))
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "/run/mull.sock", None):
        assert guard.caller(None, address) is None
        assert guard.caller("Bearer none", address) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.0.7", "mull.example"])
def test_open_to_others_must_be_said(tmp_path: Path, host: str) -> None:
    """Bound to another address, it does not start without keys, and says what to do."""
    with pytest.raises(ConfigError, match=r"mull keys add NAME.*doors.open"):
        Guard(configured(tmp_path, host))
    assert Guard(configured(tmp_path, host, open=True)).caller(None, "192.168.0.7") is None


def test_stack_is_not_started_behind_an_open_door(tmp_path: Path) -> None:
    """It is told before models are loaded."""
    with pytest.raises(ConfigError, match="mull keys add NAME"):
        plan_stack(configured(tmp_path, "0.0.0.0"), profile="cpu", state_dir=StateDir(tmp_path), scratch=tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_is_recognized(tmp_path: Path, host: str) -> None:
    """What only this machine reaches may be left open."""
    check_exposure(configured(tmp_path, host))


def test_keys_make_another_address_possible(tmp_path: Path) -> None:
    """With a key it starts, and asks for it."""
    configuration = configured(tmp_path, "0.0.0.0")
    secret = key_file(configuration).add("alice", Quota())
    guard = Guard(configuration)
    key = guard.caller(f"Bearer {secret}", "192.168.0.7")
    assert key is not None
    assert key.name == "alice"


def test_address_given_past_the_settings_is_noticed(tmp_path: Path) -> None:
    """A server that was bound elsewhere than the settings say does not let others in."""
    with pytest.raises(InvalidApiKey, match="own machine only"):
        Guard(configured(tmp_path)).caller(None, "192.168.0.7")


def test_open_beside_keys_is_a_contradiction(tmp_path: Path) -> None:
    """One of the two is a mistake, and nobody guesses which."""
    configuration = configured(tmp_path, open=True)
    key_file(configuration).add("alice", Quota())
    with pytest.raises(ConfigError, match="alice"):
        Guard(configuration)


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "Basic {secret}", "{secret}", "Bearer {secret}x"])
def test_with_keys_each_request_shows_one(tmp_path: Path, sent: str | None) -> None:
    """On loopback too; and what was sent is not said again."""
    configuration = configured(tmp_path)
    secret = key_file(configuration).add("alice", Quota())
    with pytest.raises(InvalidApiKey) as caught:
        Guard(configuration).caller(sent and sent.format(secret=secret), "127.0.0.1")
    assert secret not in str(caught.value.to_body())


def test_running_gateway_follows_its_file(tmp_path: Path) -> None:
    """A key that is added is asked for at once, one that is removed opens nothing any more."""
    configuration = configured(tmp_path)
    guard = Guard(configuration)
    assert guard.caller(None, "127.0.0.1") is None
    secret = key_file(configuration).add("alice", Quota())
    with pytest.raises(InvalidApiKey):
        guard.caller(None, "127.0.0.1")
    assert guard.caller(f"bearer  {secret} ", "127.0.0.1") is not None
    assert guard.named("alice") is not None
    key_file(configuration).remove("alice")
    assert guard.named("alice") is None
    with pytest.raises(InvalidApiKey):
        guard.caller(f"Bearer {secret}", "127.0.0.1")


def test_lost_file_opens_nothing(tmp_path: Path) -> None:
    """Where there have been keys, a file that is gone lets nobody in."""
    configuration = configured(tmp_path)
    key_file(configuration).add("alice", Quota())
    guard = Guard(configuration)
    os.unlink(key_file(configuration).path)
    with pytest.raises(InvalidApiKey):
        guard.caller(None, "127.0.0.1")


def test_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read any more leaves the keys in force, and is complained of once."""
    configuration = configured(tmp_path)
    secret = key_file(configuration).add("alice", Quota())
    guard = Guard(configuration)
    key_file(configuration).path.write_text("{")
    for _ in range(3):
        assert guard.caller(f"Bearer {secret}", "127.0.0.1") is not None
    assert len(caplog.records) == 1


def test_keys_can_be_kept_elsewhere(tmp_path: Path) -> None:
    """`doors.keys_file` names the file."""
    elsewhere = tmp_path / "secrets" / "mull.json"
    configuration = configured(tmp_path / "state", keys_file=str(elsewhere))
    secret = KeyFile(elsewhere).add("alice", Quota())
    assert Guard(configuration).caller(f"Bearer {secret}", None) is not None
