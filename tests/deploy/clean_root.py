"""An image's file system as a folder, and commands that run in it alone: for machines without a container engine.

What stands for the base image is this machine's /usr, read-only, with an /etc of a few files and a Python environment
of its own in /usr/local. All else is empty. What a step takes from /usr and the real image lacks is not noticed: steps
use what Debian calls essential, useradd and Python. Mounts are made in a mount namespace and end with the command.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LOCAL = ".usr-local"
_MERGED = ("bin", "sbin", "lib", "lib64")
_ETC = ("alternatives", "ssl", "resolv.conf", "hosts", "nsswitch.conf", "login.defs")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def why_not() -> str | None:
    """Return why nothing can be run in a root of its own here; `None` where it can."""
    if os.geteuid() != 0:
        return "changing the root needs root"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return None if tried.returncode == 0 else "this machine allows no mount namespaces"


@dataclass
class Image:
    """The folder `root`, and what the instructions have said so far; `places` of this machine are seen in it too."""

    root: Path
    places: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Return where an absolute path of the image, or one from its working directory, lies on this machine."""
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def run(
        self, command: list[str], *, extra: Mapping[str, str] = {}, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the instruction RUN does, with `extra` variables; raises `AssertionError` where it fails."""
        chain, environment = self._chain(command, options.pop("binds", {}), read_only=False), self._variables(extra)
        done = subprocess.run(chain, env=environment, capture_output=True, text=True, **options)
        if done.returncode:
            raise AssertionError(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start(self, command: list[str], *, extra: Mapping[str, str] = {}, **options: Any) -> "subprocess.Popen[str]":
        """Start a command as a container with a read-only root would; only /tmp and the state folder are writable."""
        binds = options.pop("binds", {})
        chain, environment = self._chain(command, binds, read_only=True), self._variables(extra)
        return subprocess.Popen(chain, env=environment, text=True, **options)

    def _variables(self, extra: Mapping[str, str]) -> dict[str, str]:
        home = "/root" if self.user == "0:0" else "/var/lib/mull"
        return {"HOME": home, **self.arguments, **self.environment, **extra}

    def _chain(self, command: list[str], binds: Mapping[str, Path], *, read_only: bool) -> list[str]:
        """Return a command that mounts what the image needs, then becomes `command` in it."""
        root = shlex.quote(str(self.root))
        lines = ["set -e", f"mount --bind {root} {root}"]

        def bind(source: Path, target: str, *, writable: bool = False) -> None:
            place = self.root / target.lstrip("/")
            if source.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            elif not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            where = f"{shlex.quote(str(source))} {shlex.quote(str(place))}"
            lines.append(f"mount --rbind {where}")
            if not writable:
                lines.append(f"mount -o remount,ro,bind {where}")

        bind(Path("/usr"), "/usr")
        lines.append(f"mount --bind {root}/{_LOCAL} {root}/usr/local")
        for name in _MERGED:
            if Path("/", name).is_dir() and not Path("/", name).is_symlink():
                bind(Path("/", name), f"/{name}")
        for place in self.places:
            bind(place, str(place))
        for target, source in binds.items():
            bind(source, target, writable=target.startswith("/root/"))
        for name in ("dev", "proc"):
            bind(Path("/", name), f"/{name}", writable=True)
        if read_only:
            owner = "uid={},gid={}".format(*self.user.split(":"))
            lines += [f"mount -t tmpfs -o mode=1777 none {root}/tmp"]
            lines += [f"mount -t tmpfs -o mode=700,{owner} none {root}/var/lib/mull"]
            lines += [f"mount -o remount,ro,bind {root}", f"mount -o remount,ro,bind {root}/usr/local"]
        cd = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(command)}"
        lines.append(f"exec chroot --userspec={self.user} {root} /bin/sh -c {shlex.quote(cd)}")
        return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", "\n".join(lines)]


def base_image(root: Path, places: tuple[Path, ...]) -> Image:
    """Make what stands for Debian's Python image in the new folder `root`: Python and pip in /usr/local, no more."""
    for name in (_LOCAL, "etc", "root", "tmp", "usr", "var/lib", "dev", "proc"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in _MERGED:
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(Path("/", name)))
    for name in _ETC:
        if (source := Path("/etc", name)).is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    prefix = Path(sys.base_prefix)
    image = Image(root, places if prefix.is_relative_to("/usr") else (*places, prefix))
    image.run([str(prefix / "bin" / "python3"), "-m", "venv", "/usr/local"])
    return image
