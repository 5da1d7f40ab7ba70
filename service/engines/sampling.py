"""How a distribution is said to vLLM."""

from typing import Any

from service.search.ports import Sampling


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    """Return all that shapes the distribution: what is left out, vLLM takes from the model's own defaults."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or 0,
        "min_p": sampling.min_p or 0.0,
        "repetition_penalty": 1.0,
        **sampling.extras.told,
    }
