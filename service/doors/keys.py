"""API keys: made here, kept as hashes in one file, and found again by what a client sends.

A key is 256 random bits. Nobody can guess it or try them all, so that one pass of SHA-256 is right for keeping it: slow
hashes are for passwords, which people choose.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigError, InvalidRequest
from service.settings import Settings

PREFIX = "mull-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Quota(BaseModel):
    """What one key may use; `None` is no limit. Minutes and days are those of the clock, in UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    requests_per_minute: int | None = Field(None, ge=0)
    tokens_per_day: int | None = Field(None, ge=0)
    searches: int | None = Field(None, ge=0, description="In flight, those that wait for their turn included.")
    largest_budget: int | None = Field(None, ge=0, description="Tokens that one request may be priced at.")

    @property
    def counts(self) -> bool:
        """Whether anything must be counted for it."""
        return (self.requests_per_minute, self.tokens_per_day, self.searches) != (None, None, None)


class Key(BaseModel):
    """One key as it is kept: its hash, never itself. `name` is what the ledger calls it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: datetime
    quota: Quota = Quota()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The file with all keys. Only its owner can read it; who reads it meanwhile sees all of a change or nothing."""

    path: Path

    def load(self) -> Mapping[str, Key]:
        """Return the keys by their names; none where there is no file. Raises `ConfigError`."""
        try:
            kept = _File.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            # Without the error's text: pydantic shows what it was given.
            problem = f"cannot be read ({type(error).__name__}): it must be what `mull keys add` writes"
            raise ConfigError(str(self.path), [problem]) from None
        return {key.name: key for key in kept.keys}

    def add(self, name: str, quota: Quota) -> str:
        """Make a key and return it: this is the only time that it is seen. Raises `InvalidRequest`, `ConfigError`."""
        if NAME.fullmatch(name) is None:
            raise InvalidRequest(
                f"{name!r} cannot be the name of a key.",
                hint="Up to 64 letters, digits, dots, hyphens and underscores, a letter or digit first.",
            )
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            if name in keys:
                raise InvalidRequest(f"There is a key {name!r} already.", hint="Remove it first, or choose another.")
            keys[name] = Key(name=name, sha256=_digest(secret), created=datetime.now(UTC), quota=quota)
        return secret

    def remove(self, name: str) -> None:
        """Forget a key: it opens nothing any more. Raises `InvalidRequest` where there is none, `ConfigError`."""
        with self._changing() as keys:
            if keys.pop(name, None) is None:
                raise InvalidRequest(f"There is no key {name!r}.", hint=f"Known: {', '.join(keys) or 'none'}.")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = dict(self.load())
            yield keys
            new = self.path.with_suffix(".new")
            new.unlink(missing_ok=True)
            whole = _File(keys=tuple(keys.values())).model_dump(mode="json")
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                json.dump(whole, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)


def find(keys: Mapping[str, Key], secret: str) -> Key | None:
    """Return the key that a client sent, if it is one of them. How long that takes tells nothing about any of them."""
    digest, found = _digest(secret), None
    for key in keys.values():
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def key_file(settings: Settings) -> KeyFile:
    """Return the file in which these settings keep their keys."""
    return KeyFile(settings.doors.keys_file or settings.state_dir / "keys.json")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
