"""Builds an image from a Dockerfile without a container engine: the steps in their order, each in a clean root."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from clean_root import Image, base_image
from dockerfile import Step, filled, ignored, steps

from deploy.sources import environment, pip_configuration


def replay(dockerfile: Path, scratch: Path, arguments: Mapping[str, str]) -> Image:
    """Carry a Dockerfile out with the folder it is in as context, and return its last stage.

    `arguments` are what `--build-arg` gives. Packages come from where this machine's pip is told to take them. Raises
    `AssertionError`, with what it printed, for a step that fails.
    """
    configured = pip_configuration(Path(sys.executable))
    packages = {f"PIP_{option.upper().replace('-', '_')}": value for option, value in configured.items()}
    packages |= environment(configured, configured.get("extra-index-url", "").split())
    base = base_image(scratch / "base", _places(packages))
    stages: dict[str, Image] = {}
    image = base
    for number, step in enumerate(steps(dockerfile)):
        match step.name:
            case "FROM":
                assert "python:3.11" in step.text, "what stands for the base image is a Python 3.11"
                image = Image(scratch / f"stage-{number}", base.places)
                shutil.copytree(base.root, image.root, symlinks=True)
                stages[step.words[-1]] = image
            case "ARG":
                defaults = step.pairs(image.environment) if "=" in step.text else {}
                image.arguments |= {name: arguments.get(name, value) for name, value in defaults.items()}
            case "COPY":
                _copy(step, dockerfile.parent, stages, image)
            case "RUN":
                image.run(["/bin/sh", "-c", step.text], extra=packages, binds=_caches(step, scratch))
            case _:
                _say(step, image)
    return image


def _say(step: Step, image: Image) -> None:
    """Note an instruction that changes no file."""
    variables = image.arguments | image.environment
    match step.name:
        case "ENV":
            image.environment |= step.pairs(variables)
        case "LABEL":
            image.labels |= step.pairs(variables)
        case "WORKDIR":
            image.workdir = filled(step.text, variables)
            image.inside(image.workdir).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.text
        case "ENTRYPOINT":
            image.entrypoint = step.words
        case "CMD":
            image.command = step.words
        case "HEALTHCHECK":
            image.healthcheck = step.words
        case "EXPOSE":
            pass


def _copy(step: Step, context: Path, stages: Mapping[str, Image], image: Image) -> None:
    *sources, target = step.words
    place = image.inside(target)
    for source in sources:
        if "from" in step.options:
            # Moved, not copied: nothing comes after it in the other stage, and it has many files.
            stages[step.options["from"]].inside(source).rename(place)
            continue
        rules = (context / ".dockerignore").read_text()
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", source]
        listed = subprocess.run(command, cwd=context, check=True, capture_output=True, text=True)
        for name in listed.stdout.splitlines():
            if ignored(name, rules) or not (context / name).is_file():
                continue
            into = place / (name if source == "." else Path(name).relative_to(source))
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context / name, into)


def _caches(step: Step, scratch: Path) -> dict[str, Path]:
    """Return what is mounted for a step that asks for a cache: the one that this machine has of that name."""
    wanted = dict(part.split("=") for part in step.options.get("mount", "").split(",") if part)
    if not wanted:
        return {}
    assert wanted["type"] == "cache", step
    ours = Path.home() / ".cache" / Path(wanted["target"]).name
    if not ours.is_dir():
        ours = scratch / Path(wanted["target"]).name
        ours.mkdir(exist_ok=True)
    return {wanted["target"]: ours}


def _places(packages: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders at the top of this machine that hold packages, where pip is told of any."""
    named = " ".join(packages.values()).replace("file://", "").replace(",", " ").split()
    tops = {Path("/", Path(name).parts[1]) for name in named if name.startswith("/") and Path(name).is_dir()}
    return tuple(sorted(tops - {Path("/usr"), Path("/root")}))
