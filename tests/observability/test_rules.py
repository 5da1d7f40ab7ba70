"""Recording and alert rules: they parse, they do what their tests say, and the runbook knows each alert."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rules import OBJECT, as_object
from service.panels.catalogue import DASHBOARDS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus/rules"
CASES = Path(__file__).with_name("rules.test.yml")
RUNBOOK = ROOT / "docs/runbook.md"
COMPARISON = re.compile(r" (<|>) [\d.]+$")


def alerts() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expected() -> Iterator[tuple[str, bool]]:
    """Yield of each case in the tests of the rules which alert it is about, and whether it expects it to fire."""
    for test in yaml.safe_load(CASES.read_text())["tests"]:
        for case in test.get("alert_rule_test", ()):
            yield case["alertname"], bool(case.get("exp_alerts"))


def run(*command: object) -> None:
    """Run a tool and fail with what it said if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_the_rules_parse(promtool: Path) -> None:
    """Prometheus would load the rules."""
    run(promtool, "check", "rules", "--lint-fatal", *sorted(RULES.glob("*.yml")))


def test_the_rules_do_what_their_tests_say(promtool: Path) -> None:
    """Alerts fire when they should and not when they should not."""
    run(promtool, "test", "rules", CASES)


def test_kubernetes_gets_the_same_rules() -> None:
    """`python -m deploy.rules` changes nothing."""
    assert (ROOT / OBJECT).read_text() == as_object()


def test_every_alert_is_tested() -> None:
    """Of each alert a test sees that it fires; those that must not fire do not in the test of a healthy service."""
    fired = {name for name, fires in expected() if fires}
    assert fired == {alert["alert"] for alert in alerts()}


def test_every_alert_has_its_entry_in_the_runbook_and_the_other_way_round() -> None:
    """Entry, alert and link have the same name, and entries stand in the alerts' order."""
    entries = re.findall(r"^## (Mull\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert entries == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_the_runbook_says_how_urgent_each_alert_is() -> None:
    """Severity in the rule and in the runbook are the same."""
    text = RUNBOOK.read_text()
    for alert in alerts():
        assert f"## {alert['alert']}\n\n**{alert['labels']['severity']}.** " in text


def test_the_runbook_names_panels_that_exist() -> None:
    """What the runbook sends a reader to is in the catalogue."""
    titles = {panel.title for board in DASHBOARDS for panel in board.panels}
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", RUNBOOK.read_text()))
    assert named <= titles, named - titles


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_compares_a_value_with_a_number(alert: dict[str, Any]) -> None:
    """So that the value can be looked at while nothing is wrong."""
    assert COMPARISON.search(alert["expr"])
