"""Write deploy/LICENCES.md, the licence of every locked package: `python -m deploy.licences`, after `make lock`.

What is installed here tells its own licence; for the rest pip reads the metadata from the index, without the packages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from deploy.sources import environment, pip_configuration

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "deploy" / "locks"
PAGE = ROOT / "deploy" / "LICENCES.md"
NOT_STATED = "not stated in its metadata"
_OSI = "License :: OSI Approved :: "
_HEADER = """\
# Licences of the locked packages

Written by `python -m deploy.licences` from what the packages say of themselves; nobody has read the texts. `base` is
what the image holds: gateway, workers and command. `cpu` and `gpu` add the engine and what development needs; NVIDIA's
libraries come with their own terms. Mull itself is Apache-2.0, and so are the tiny models that come with it.

| package | version | locks | licence |
|---|---|---|---|
"""


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package in a lock."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+) \\$", (LOCKS / f"{lock}.txt").read_text(), re.MULTILINE))


def page(licences: Mapping[tuple[str, str], str]) -> str:
    """Return the page; `licences` are by package and version."""
    locks = {lock: pins(lock).items() for lock in ("base", "cpu", "gpu")}
    rows = []
    for name, version in sorted(set().union(*locks.values())):
        within = ", ".join(lock for lock, held in locks.items() if (name, version) in held)
        rows.append(f"| {name} | {version} | {within} | {licences[name, version]} |")
    return _HEADER + "\n".join(rows) + "\n"


def licence(expression: str | None, classifiers: Iterable[str], text: str | None) -> str:
    """Return the licence as the metadata has it: as an expression, in the classifiers, or as the text begins."""
    if expression:
        return expression
    named = [c for c in classifiers if c.startswith("License :: ") and c != _OSI.removesuffix(" :: ")]
    if named:
        return ", ".join(classifier.removeprefix(_OSI).removeprefix("License :: ") for classifier in named)
    lines = " ".join((text or "").split())
    return lines[:60].strip().replace("|", "/") or NOT_STATED


def main() -> None:
    """Write the page."""
    wanted = {pin for lock in ("base", "cpu", "gpu") for pin in pins(lock).items()}
    found = {pin: told for pin in wanted if (told := _installed(*pin)) is not None}
    PAGE.write_text(page(found | _on_the_index(wanted - found.keys())))


def _installed(name: str, version: str) -> str | None:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return None
    if told["Version"] != version:
        return None
    expression, text = (next(iter(told.get_all(field) or ()), None) for field in ("License-Expression", "License"))
    return licence(expression, told.get_all("Classifier") or (), text)


def _on_the_index(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Ask pip, the newest: older ones do not know the field for expressions."""
    if not wanted:
        return {}
    configured = pip_configuration(Path(sys.executable))
    variables = environment(configured, configured.get("extra-index-url", "").split())
    variables |= {f"PIP_{option.upper().replace('-', '_')}": value for option, value in configured.items()}
    # A folder of wheels may hold another build of torch than the index.
    variables.pop("PIP_FIND_LINKS", None)
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "tool", "run", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    command += ["--report", "-", *(f"{name}=={version}" for name, version in sorted(wanted))]
    run = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, check=True, text=True)
    told = [entry["metadata"] for entry in json.loads(run.stdout)["install"]]
    by_name = {re.sub(r"[-_.]+", "-", entry["name"]).lower(): entry for entry in told}
    return {
        (name, version): licence(
            by_name[name].get("license_expression"), by_name[name].get("classifier", ()), by_name[name].get("license")
        )
        for name, version in wanted
    }


if __name__ == "__main__":
    main()
