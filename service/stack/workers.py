"""The process behind the search workers: starts Ray where there is none, deploys, and takes down what it put up."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from service.ray_membership import Membership, addresses
from service.serve_app import APPLICATION, deploy
from service.settings_file import load_settings
from service.stack.reach import check_reach

WATCH_S, ANSWER_S = 5, 5
MISSES = 2
"""How often in a row Ray may fail to answer: Serve's controller is restarted by Ray itself."""


def main() -> None:
    """Run until SIGTERM; `--ready-file` is written once searches can be sent."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ready-file", type=Path, required=True)
    arguments.add_argument("--head", action="store_true", help="start a one-node Ray instead of joining one")
    arguments.add_argument("--temp-dir")
    arguments.add_argument("--object-store-memory", type=int)
    arguments.add_argument("--metrics-port", type=int)
    chosen = arguments.parse_args()
    # Before any thread exists, so that all of them leave the signal to the wait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    chosen.ready_file.unlink(missing_ok=True)
    settings = load_settings()
    if chosen.head:
        ray.init(
            _node_ip_address="127.0.0.1",
            _temp_dir=chosen.temp_dir,
            object_store_memory=chosen.object_store_memory,
            include_dashboard=False,
            log_to_driver=False,
            _metrics_export_port=chosen.metrics_port,
        )
    else:
        ray.init(address=settings.ray.address, log_to_driver=False)
        for problem in check_reach(settings, addresses()):
            print(problem, file=sys.stderr)
    deploy(settings)
    chosen.ready_file.touch()
    membership, missed = Membership(), 0
    while signal.sigtimedwait({signal.SIGTERM}, WATCH_S) is None:
        missed = 0 if _is_up(membership) else missed + 1
        if missed == MISSES:
            # Better to end, and be started again, than to stand for nothing; Ray's farewell would wait for its head.
            print("The Ray cluster is gone.", file=sys.stderr, flush=True)
            os._exit(1)
    if not chosen.head:
        serve.delete(APPLICATION)
    ray.shutdown()


def _is_up(membership: Membership) -> bool:
    """Whether Ray's head knows this process, and says so within `ANSWER_S`, and has the search workers."""
    found: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError, RayError, RayServeException):
            found.append(membership.holds() and APPLICATION in serve.status().applications)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    return found == [True]


if __name__ == "__main__":
    main()
