"""What a Prometheus has to be told to watch the stack that `mull up` has started."""

from __future__ import annotations

from collections import defaultdict
from urllib.parse import urlsplit

import yaml

from service.errors import StackError
from service.stack.state import State

INTERVAL = "5s"
_JOBS = {"gateway": "mull", "workers": "workers", "policy": "policy", "reward": "reward"}
"""By what the name of a part begins with. Rules and dashboards tell engines apart by these."""


def targets(state: State) -> dict[str, list[str]]:
    """Return host and port of all that tells metrics, by the name of the job."""
    found: dict[str, list[str]] = defaultdict(list)
    for part in state.parts:
        job = next((job for prefix, job in _JOBS.items() if part.name.startswith(prefix)), None)
        if job is not None and part.metrics is not None:
            found[job].append(urlsplit(part.metrics).netloc)
    return dict(found)


def scrape_config(state: State | None) -> str:
    """Return a configuration for Prometheus; raises `StackError` where no stack runs."""
    if state is None or not state.supervisor.alive():
        raise StackError("No stack runs here.", hint="Start one with `mull up`, or write the addresses yourself.")
    config = {
        "global": {"scrape_interval": INTERVAL},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": found}]} for job, found in targets(state).items()
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)
