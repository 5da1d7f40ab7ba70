"""A real Prometheus that watches a running stack."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from service.stack.ports import free_ports

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules"
START_S, ANSWER_S = 20.0, 10.0


class PrometheusServer:
    """Scrapes `targets` (host:port by the name of the job) each second, and works out the rules as often."""

    def __init__(self, binary: Path, folder: Path, targets: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{next(free_ports())}"
        scraped = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{RULES}/*.yml"],
            "scrape_configs": scraped,
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._command = [
            str(binary),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder}/data",
        ]
        self._command += [f"--web.listen-address={self.url.removeprefix('http://')}"]
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=self.url, timeout=ANSWER_S, trust_env=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while not self._is_ready():
            if time.monotonic() > until or self._process.poll() is not None:
                raise AssertionError(f"Prometheus does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self._client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(ANSWER_S)

    def ask(self, path: str, **asked: str) -> Any:
        """Return the data of an answer; fails where Prometheus refuses, or has something to warn of."""
        body = self._client.get(f"/api/v1/{path}", params=asked).json()
        assert body["status"] == "success", f"{asked}: {body}"
        assert not body.get("warnings"), f"{asked}: {body['warnings']}"
        return body["data"]

    def vector(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Return what a query is now: labels and values."""
        result = self.ask("query", query=promql)["result"]
        return [(found["metric"], float(found["value"][1])) for found in result]

    def wait_for(self, promql: str, limit_s: float) -> None:
        """Return as soon as a query has a result; fails after `limit_s`."""
        until = time.monotonic() + limit_s
        while not self.vector(promql):
            assert time.monotonic() < until, f"nothing came of {promql} within {limit_s} s"
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").is_success
        except httpx.HTTPError:
            return False
