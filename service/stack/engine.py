"""The command that starts one vLLM server."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from reward_models.presets import PRESETS
from service.settings import Engine, RewardSettings
from service.stack import cpu

Profile = Literal["cpu", "gpu"]

# What all engines of one card may take together of its memory.
GPU_MEMORY = 0.9


def detect_profile() -> Profile:
    """Return "gpu" where NVIDIA's driver is installed, else "cpu"."""
    return "gpu" if shutil.which("nvidia-smi") else "cpu"


def engine_command(engine: Engine, *, port: int, profile: Profile, on_card: int) -> list[str]:
    """Return the arguments of a vLLM server on 127.0.0.1; `on_card` engines share the GPU."""
    # `vllm serve` of the CPU distribution looks for a package named vllm and dies; the module works everywhere.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", engine.model, "--served-model-name", engine.name]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    # Requests can be aborted by name, and then tell what they have cost; a closed connection tells nothing.
    command += ["--enable-scale-out"]
    if profile == "cpu":
        command += [*cpu.FLAGS, *cpu.cache_flags(_cached_per_prompt(engine))]
    else:
        command += ["--gpu-memory-utilization", f"{GPU_MEMORY / on_card:.2f}"]
    return [*command, *engine.arguments]


def _cached_per_prompt(engine: Engine) -> int:
    """Return how many numbers vLLM keeps of the longest prompt; 0 where that is not known."""
    if isinstance(engine, RewardSettings) and engine.preset is not None:
        return PRESETS[engine.preset].cached_per_prompt
    return 0


def engine_environment(engine: Engine, profile: Profile) -> Mapping[str, str]:
    """Return the environment variables of that server."""
    environment = {"VLLM_NO_USAGE_STATS": "1", **(cpu.ENVIRONMENT if profile == "cpu" else {})}
    if Path(engine.model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if engine.api_key is not None:
        environment["VLLM_API_KEY"] = engine.api_key.get_secret_value()
    return environment
