"""`mull report`: what Prometheus knows of the last hours, drawn on one page."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from service.errors import InvalidRequest
from service.panels.catalogue import DASHBOARDS
from service.report.gather import gather
from service.report.page import page
from service.report.prometheus import Prometheus, PrometheusDown
from service.report.span import Span, seconds
from service.report.targets import scrape_config
from service.settings_file import load_settings
from service.stack.state import StateDir

LIMIT_S = 120.0
"""Longest that all queries together may take."""


def command(
    since: Annotated[str, typer.Option("--since", help="How far back: 15m, 1h, 2d.")] = "1h",
    prometheus: Annotated[
        str, typer.Option("--prometheus", metavar="URL", help="Where Prometheus answers.")
    ] = "http://127.0.0.1:9090",
    out: Annotated[Path, typer.Option("--out", help="The page to write, HTML.")] = Path("report.html"),
    targets: Annotated[
        bool, typer.Option("--targets", help="Print a configuration for Prometheus to watch this stack, and end.")
    ] = False,
) -> None:
    """Draw Grafana's panels on one HTML page, for who has a Prometheus that scrapes Mull and no Grafana.

    The page needs nothing beside itself: it can be kept, printed or sent. Times are in UTC.
    """
    if targets:
        typer.echo(scrape_config(StateDir(load_settings().state_dir).load()), nl=False)
        return
    length = seconds(since)
    if out.suffix.lower() not in (".html", ".htm"):
        raise InvalidRequest(f"{out} is no name of an HTML page.", hint="Say --out report.html; a browser prints it.")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise InvalidRequest(f"Nothing can be written to {out}.", hint="Name a file in a folder that exists.")
    try:
        text, panels, empty = asyncio.run(_drawn(prometheus, since, length))
    except TimeoutError:
        hint = "Look less far back with --since."
        raise PrometheusDown(f"{prometheus} did not answer everything within {LIMIT_S:g} s.", hint=hint) from None
    try:
        out.write_text(text)
    except OSError as error:
        raise InvalidRequest(f"{out} cannot be written: {error.strerror}.") from error
    typer.echo(f"{out}: {panels} panels, {empty} of them without anything to show")


async def _drawn(url: str, since: str, length: float) -> tuple[str, int, int]:
    """Return the page, how many panels it has, and how many of them are empty."""
    async with asyncio.timeout(LIMIT_S), Prometheus(url) as prometheus:
        end = time.time()
        span = Span(end - length, end, await prometheus.interval_s())
        filled = await gather(prometheus, DASHBOARDS, span)
    text = page(filled, span, since=since, source=prometheus.url)
    panels = [one for board in filled.values() for one in board]
    return text, len(panels), sum(not one.series for one in panels)
