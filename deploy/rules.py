"""Writes Prometheus' rules as the object that its Kubernetes operator reads: `python -m deploy.rules`.

The rules are written in deploy/prometheus/rules; deploy/k8s/monitoring/rules.yaml is made by this and not by hand.
"""

from pathlib import Path

import yaml

RULES = Path("deploy/prometheus/rules")
OBJECT = Path("deploy/k8s/monitoring/rules.yaml")
_HEADER = "# Made from deploy/prometheus/rules by `python -m deploy.rules`.\n"


def main() -> None:
    """Write the file."""
    OBJECT.write_text(as_object())


def as_object() -> str:
    """Return a PrometheusRule with all groups, each under the name of its file."""
    groups = []
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            groups.append({"name": f"{group['name']}-{file.stem}", "rules": group["rules"]})
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mull"},
        "spec": {"groups": groups},
    }
    return _HEADER + yaml.safe_dump(rule, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
