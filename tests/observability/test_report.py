"""`mull report`: one page from what Prometheus says, or a sentence about what is wrong."""

import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_prometheus import Answer, busy, idle, serving
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from service.cli import app
from service.errors import InvalidRequest
from service.panels.catalogue import DASHBOARDS
from service.panels.panel import Kind, Unit
from service.report.chart import bars, lines
from service.report.gather import Series
from service.report.numbers import top, written
from service.report.span import Span, seconds

PANELS = [panel for board in DASHBOARDS for panel in board.panels]
SPAN = Span(1000.0, 4600.0, 15.0)


def report(*options: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["report", *options])


class Tags(HTMLParser):
    """Sees that tags are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Note a tag."""
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """See that it is the one that was opened last."""
        assert self.open.pop() == tag


def test_every_panel_is_on_the_page(tmp_path: Path) -> None:
    """Each with its title and, unless it is one number, its drawing; the page is whole and loads nothing."""
    page = tmp_path / "page.html"
    with serving(busy) as url:
        done = report("--since", "1h", "--prometheus", url, "--out", str(page))
    assert done.exit_code == 0, done.output
    assert f"{len(PANELS)} panels, 0 of them without" in done.output
    text = page.read_text()
    assert text.count('<div class="panel">') == len(PANELS)
    assert text.count("<svg") == sum(panel.kind is not Kind.NUMBER for panel in PANELS)
    assert "src=" not in text
    assert "href=" not in text
    tags = Tags()
    tags.feed(text)
    assert tags.open == []


def test_what_prometheus_says_is_no_html(tmp_path: Path) -> None:
    """The value of a label stands on the page as it is."""
    page = tmp_path / "page.html"
    with serving(busy) as url:
        report("--prometheus", url, "--out", str(page))
    assert "<b>&" not in page.read_text()
    assert "&lt;b&gt;&amp;" in page.read_text()


def test_a_panel_without_data_says_what_it_needs(tmp_path: Path) -> None:
    """An empty Prometheus makes a page all the same."""
    page = tmp_path / "page.html"
    with serving(idle) as url:
        done = report("--prometheus", url, "--out", str(page))
    assert f"{len(PANELS)} of them without" in done.output
    assert "Nothing in this time; it needs prices in the configuration." in page.read_text()


def test_rates_are_taken_over_several_scrapes() -> None:
    """The window holds four scrapes, and no scrape falls between two windows."""
    assert Span(0, 3600, 15).window == "60000ms"
    assert Span(0, 86_400, 15).window == "735000ms"
    assert Span(0, 60, 15).step == 15


@pytest.mark.parametrize(
    ("say", "message"),
    [
        (lambda *_: (200, b"<html>"), "is not Prometheus (status 200)"),
        (lambda *_: (200, ["no"]), "is not Prometheus (status 200)"),
        (lambda *_: (503, b""), "is not Prometheus (status 503)"),
        (lambda *_: (400, {"status": "error", "error": "parse error"}), "parse error"),
    ],
)
def test_a_wrong_answer_is_explained(say: object, message: str, tmp_path: Path) -> None:
    """No page, and no traceback."""

    def told(path: str, asked: dict[str, str]) -> Answer:
        assert callable(say)
        answer: Answer = say(path, asked)
        return answer

    page = tmp_path / "page.html"
    with serving(told) as url:
        done = report("--prometheus", url, "--out", str(page))
    assert done.exit_code == 1
    assert message in done.output
    assert not page.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--since", "soon"), "'soon' is no time."),
        (("--since", "0h"), "'0h' is no time."),
        (("--out", "page.png"), "page.png is no name of an HTML page."),
        (("--out", "nowhere/page.html"), "Nothing can be written to nowhere/page.html."),
        (("--prometheus", "http://127.0.0.1:9"), "No Prometheus answers at http://127.0.0.1:9"),
        (("--prometheus", "nonsense"), "No Prometheus answers at nonsense"),
    ],
)
def test_a_mistake_is_explained(options: tuple[str, ...], message: str) -> None:
    """With what to do next."""
    done = report(*options)
    assert done.exit_code == 1
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "length"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), ("500ms", 0.5), ("1.5h", 5400)]
)
def test_times_are_read_as_prometheus_writes_them(text: str, length: float) -> None:
    """Seconds, minutes, hours, days, and several of them."""
    assert seconds(text) == pytest.approx(length)


@pytest.mark.parametrize("text", ["", "h", "1", "1x", "-1h", "1h x", "0s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """And not read as something else."""
    with pytest.raises(InvalidRequest):
        seconds(text)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.SHARE, 0.256, "25.6 %"),
        (Unit.SHARE, 1.0, "100 %"),
        (Unit.SECONDS, 0.0042, "4.2 ms"),
        (Unit.SECONDS, 1.25, "1.25 s"),
        (Unit.SECONDS, 90, "90 s"),
        (Unit.SECONDS, 150, "2.5 min"),
        (Unit.SECONDS, 0.0, "0 s"),
        (Unit.BYTES, 3 * 2**29, "1.5 GiB"),
        (Unit.TOKENS, 9_999, "9,999"),
        (Unit.TOKENS_PER_S, 12_345, "12.3 k"),
        (Unit.TOKENS, 2_500_000, "2.5 M"),
        (Unit.REQUESTS_PER_S, 0.0333, "0.0333"),
        (Unit.COUNT, 0, "0"),
    ],
)
def test_numbers_are_written_for_people(unit: Unit, value: float, text: str) -> None:
    """Three digits that count, and a suffix where there is one."""
    assert written(unit, value) == text


@given(unit=st.sampled_from(list(Unit)), largest=st.floats(0, 1e15))
def test_an_axis_holds_what_is_drawn(unit: Unit, largest: float) -> None:
    """It ends above the largest value, and not far above, unless there is next to nothing to see."""
    end = top(unit, largest)
    assert end >= largest * (1 - 1e-6)
    assert end > 0
    assert unit is Unit.SHARE or largest < 1e-9 or end <= 2.5 * largest


values = st.lists(st.floats(0, 1e9), min_size=1, max_size=20)


@given(drawn=st.lists(values, min_size=1, max_size=4), stacked=st.booleans(), unit=st.sampled_from(list(Unit)))
def test_a_drawing_is_svg_and_stays_inside(drawn: list[list[float]], stacked: bool, unit: Unit) -> None:
    """Whatever the numbers are, no line leaves the picture."""
    series = [Series(f"s{n}", tuple((1000.0 + 30 * i, v) for i, v in enumerate(row))) for n, row in enumerate(drawn)]
    picture = xml.etree.ElementTree.fromstring(lines(series, unit, SPAN, stacked=stacked))
    _, _, width, height = map(float, picture.attrib["viewBox"].split())
    pairs = [pair for line in picture.iter() for pair in line.attrib.get("points", "").split()]
    for x, y in (map(float, pair.split(",")) for pair in pairs):
        assert -0.1 <= x <= width + 0.1
        assert -0.1 <= y <= height + 0.1


@given(values)
def test_bars_are_ordered_by_length(drawn: list[float]) -> None:
    """The longest first, and none beyond the picture."""
    picture = xml.etree.ElementTree.fromstring(bars([Series(f"s{v}", ((0.0, v),)) for v in drawn], Unit.TOKENS))
    lengths = [float(bar.attrib["width"]) for bar in picture.iter("rect")]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == len(drawn)
    assert max(lengths) < 420
