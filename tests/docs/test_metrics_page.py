"""docs/metrics.md against the metrics that there are."""

from metric_tables import PAGE, filled, gateway_rows, worker_rows


def test_tables_are_up_to_date() -> None:
    """If this fails: `python tests/docs/metric_tables.py`."""
    assert PAGE.read_text() == filled(PAGE.read_text())


def test_every_metric_is_explained() -> None:
    """Each has a name of its own, and says in a sentence what it counts."""
    rows = [*gateway_rows(), *worker_rows()]
    names = [name for name, *_ in rows]
    assert len(names) == len(set(names))
    assert all(meaning.endswith(".") for *_, meaning in rows)
    assert PAGE.read_text().count("| `") >= len(rows)
