"""Grafana's dashboards: made from the catalogue, and laid out so that nothing covers anything."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.dashboards import FOLDER, UNITS, as_json
from service.panels.catalogue import DASHBOARDS
from service.panels.panel import Dashboard, Unit

BOARDS = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: str(board.name))


def panels(board: Dashboard) -> list[dict[str, Any]]:
    """Return what Grafana is given to draw, rows included."""
    found: list[dict[str, Any]] = json.loads(as_json(board))["panels"]
    return found


def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the places in Grafana's grid of 24 columns that a panel covers."""
    place = panel["gridPos"]
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


@BOARDS
def test_the_committed_file_is_what_the_catalogue_makes(board: Dashboard) -> None:
    """`python -m deploy.dashboards` changes nothing."""
    assert (FOLDER / f"{board.name}.json").read_text() == as_json(board)


def test_there_is_no_file_without_a_dashboard() -> None:
    """What was taken out of the catalogue is not provisioned any more."""
    assert {file.stem for file in FOLDER.glob("*.json")} == {board.name for board in DASHBOARDS}


@BOARDS
def test_no_panel_covers_another_or_leaves_the_grid(board: Dashboard) -> None:
    """Each place of the grid belongs to one panel at most."""
    covered = [cell for panel in panels(board) for cell in cells(panel)]
    assert len(covered) == len(set(covered))
    assert all(x < 24 for x, _ in covered)


@BOARDS
def test_panels_and_their_queries_have_names_of_their_own(board: Dashboard) -> None:
    """Grafana tells panels apart by id, and the queries of one by letter."""
    ids = [panel["id"] for panel in panels(board)]
    assert len(ids) == len(set(ids))
    for panel in panels(board):
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(letters) == len(set(letters))
        assert all(letters)


def test_grafana_has_a_word_for_every_unit() -> None:
    """A new unit is not forgotten."""
    assert set(UNITS) == set(Unit)


@BOARDS
def test_every_query_is_in_grafana_s_own_durations(board: Dashboard) -> None:
    """What stands for a duration in the catalogue is not left over."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            assert "$window" not in target["expr"]
            assert "$range" not in target["expr"]
