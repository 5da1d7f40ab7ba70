"""What runs, written down: `mull down` and the next `mull up` act on it, also after a crash."""

import fcntl
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.errors import StackError
from service.stack.processes import Pid


@dataclass(frozen=True, slots=True)
class Record:
    """One part that was started: `url` is where it is reached, `log` where it writes.

    Asked to stop, it has `grace_s` seconds to end. `metrics` is what Prometheus reads, where it has something to tell.
    """

    name: str
    process: Pid
    url: str
    log: str
    grace_s: float
    metrics: str | None = None


@dataclass(slots=True)
class State:
    """One running stack. `scratch` is its folder of sockets and other short-lived files; `parts` in order of start."""

    supervisor: Pid
    url: str
    scratch: str
    ready: bool = False
    parts: list[Record] = field(default_factory=list)

    def put(self, record: Record) -> None:
        """Add a part, in the place of an earlier process of the same name."""
        names = [part.name for part in self.parts]
        if record.name in names:
            self.parts[names.index(record.name)] = record
        else:
            self.parts.append(record)

    def part(self, prefix: str) -> Record:
        """Return the first part whose name starts with `prefix`; raises `LookupError`."""
        for part in self.parts:
            if part.name.startswith(prefix):
                return part
        raise LookupError(f"no part {prefix!r} among {[part.name for part in self.parts]}")


class StateDir:
    """The folder `.mull`: state, lock, logs, the effective configuration. Only its owner can read it."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.settings = self.path / "effective.yaml"
        self.ray_token = self.path / "ray-token"
        self._state = self.path / "state.json"

    def create(self) -> None:
        """Make the folder, if it is not there."""
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def write_token(self) -> None:
        """Make a new secret without which nobody can use the stack's Ray."""
        self.ray_token.unlink(missing_ok=True)
        self.ray_token.touch(mode=0o600)
        self.ray_token.write_text(secrets.token_hex(32))

    def load(self) -> State | None:
        """Return what was written last; `None` where nothing runs. Raises `StackError` if it cannot be read."""
        try:
            data = json.loads(self._state.read_text())
            parts = [Record(**{**part, "process": Pid(**part["process"])}) for part in data.pop("parts")]
            return State(**{**data, "supervisor": Pid(**data["supervisor"])}, parts=parts)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StackError(
                f"{self._state} cannot be read: it is damaged, or another version wrote it.",
                hint="See with `ps` that nothing of Mull runs, then remove it.",
            ) from None

    def save(self, state: State) -> None:
        """Write the state so that a reader sees all of it or what was there before."""
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps(asdict(state), indent=1))
        new.replace(self._state)

    def clear(self) -> None:
        """Forget the state and the secrets: nothing runs any more."""
        for path in (self.settings, self.ray_token, self._state):
            path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, wait_s: float = 0) -> Iterator[bool]:
        """Hold the folder for as long as the context lasts; gives False where another process has it for `wait_s`.

        The kernel drops the lock of a process that dies.
        """
        with (self.path / "lock").open("w") as file:
            yield _acquired(file.fileno(), time.monotonic() + wait_s)


def _acquired(descriptor: int, until: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        else:
            return True
