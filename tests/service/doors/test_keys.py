import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.doors.keys import KeyFile, Quota, find
from service.errors import ConfigError, InvalidRequest


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    """Where nothing has been kept yet."""
    return KeyFile(tmp_path / "new" / "keys.json")


def test_key_is_found_by_what_was_shown(file: KeyFile) -> None:
    """The secret opens, and gives its name and its quota."""
    quota = Quota(requests_per_minute=3, largest_budget=100)
    secret = file.add("alice", quota)
    file.add("bob", Quota())
    found = find(file.load(), secret)
    assert found is not None
    assert (found.name, found.quota) == ("alice", quota)


def test_other_texts_open_nothing(file: KeyFile) -> None:
    """Neither a part of a key, nor its hash, nor text that is no ASCII is a key."""
    secret = file.add("alice", Quota())
    kept = file.load()
    for wrong in ("", secret[:-1], secret + "a", kept["alice"].sha256, "ключ", "\udce9"):
        assert find(kept, wrong) is None


def test_secret_is_nowhere_in_the_file(file: KeyFile) -> None:
    """What is kept is a hash, in a file for its owner alone."""
    secret = file.add("alice", Quota())
    assert secret not in file.path.read_text()
    assert secret.removeprefix("mull-") not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_keys_are_long_and_all_different(file: KeyFile) -> None:
    """Each has 256 random bits."""
    secrets = {file.add(f"k{i}", Quota()) for i in range(5)}
    assert len(secrets) == 5
    assert all(len(secret) == len("mull-") + 43 for secret in secrets)


def test_removed_key_opens_nothing(file: KeyFile) -> None:
    """Only the one that is named goes."""
    first, second = file.add("alice", Quota()), file.add("bob", Quota())
    file.remove("alice")
    assert find(file.load(), first) is None
    assert find(file.load(), second) is not None


def test_names_are_taken_once(file: KeyFile) -> None:
    """A second key of a name is refused, and removing one that is not there."""
    file.add("alice", Quota())
    with pytest.raises(InvalidRequest, match="already"):
        file.add("alice", Quota())
    with pytest.raises(InvalidRequest, match="There is no key 'bob'"):
        file.remove("bob")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "ä", "a" * 65, "a\n"])
def test_odd_names_are_refused(file: KeyFile, name: str) -> None:
    """Names go into logs, tables and Redis: they are plain."""
    with pytest.raises(InvalidRequest):
        file.add(name, Quota())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": 3}', '{"keys": [{"name": "a", "sha256": "hunter2"}]}'])
def test_broken_file_is_told_without_its_text(file: KeyFile, text: str) -> None:
    """An error about the file does not quote it."""
    file.path.parent.mkdir()
    file.path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        file.load()
    assert "hunter2" not in caught.value.message


def test_keys_added_at_once_are_all_kept(file: KeyFile) -> None:
    """Two commands at a time do not overwrite each other."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: KeyFile(file.path).add(f"k{i}", Quota()), range(24)))
    assert len(json.loads(file.path.read_text())["keys"]) == 24
