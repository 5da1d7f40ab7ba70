"""The process behind the search workers: starts Ray where there is none, deploys, and takes down what it put up."""

import argparse
import signal
from pathlib import Path

import ray
from ray import serve

from service.settings_file import load_settings
from service.worker import APPLICATION, deploy

WATCH_S = 10


def main() -> None:
    """Run until SIGTERM; `--ready-file` is written once searches can be sent."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--ready-file", type=Path, required=True)
    arguments.add_argument("--head", action="store_true", help="start a one-node Ray instead of joining one")
    arguments.add_argument("--temp-dir")
    arguments.add_argument("--object-store-memory", type=int)
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
        )
    else:
        ray.init(address=settings.ray.address, log_to_driver=False)
    deploy(settings)
    chosen.ready_file.touch()
    while signal.sigtimedwait({signal.SIGTERM}, WATCH_S) is None:
        serve.status()  # raises where Ray is gone: better to end, and be started again, than to stand for nothing
    if not chosen.head:
        serve.delete(APPLICATION)
    ray.shutdown()


if __name__ == "__main__":
    main()
