"""How many servers of each kind a load needs, from what one question asks of each: the numbers of docs/scale.md.

    .venv/bin/python -m benchmarks.capacity            # print the tables
    .venv/bin/python -m benchmarks.capacity --write    # put them into the page

One law is enough. A server that is asked for `work` per question and does `rate` of it per second is busy for
`work / rate` seconds per question (its demand D), and with λ questions per second over m servers its utilisation is
U = λ·D / m (the utilisation law: Denning and Buzen 1978, "The operational analysis of queueing network models").
Servers are as many as keep U at the peak at or below the target, and below `WITHOUT_ONE` when one of them is gone, of
those that can stand in for each other. How long a question then waits for its turn is by Erlang's C formula.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.capacity_inputs import PLANS, Load, Plan, Station

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- capacity: {} -->", "<!-- end -->"
DAY_S = 86_400
WITHOUT_ONE = 0.9
"""How busy servers may be at the peak when one of them is lost: they must still keep up."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one kind of server comes to: `demand` in seconds per question, utilisations in 0..1, `wait` in demands.

    `lost` is the utilisation at the peak when one server of this kind is gone; infinite where it was the only one.
    """

    station: Station
    demand: float
    servers: int
    mean: float
    peak: float
    lost: float
    wait: float


def mean_rate(load: Load) -> float:
    """Return questions per second, on average over the day."""
    return load.questions_per_day / DAY_S


def need(station: Station, load: Load) -> Need:
    """Return how many servers of a kind a load needs, and how busy they are then."""
    demand = station.work / station.rate
    peak = mean_rate(load) * load.peak_factor * demand
    servers = max(station.fewest, ceil(peak / load.target - 1e-9))
    if station.fewest > 1:
        servers = max(servers, 1 + ceil(peak / WITHOUT_ONE - 1e-9))
    return Need(
        station,
        demand,
        servers,
        mean=peak / load.peak_factor / servers,
        peak=peak / servers,
        lost=peak / (servers - 1) if servers > 1 else float("inf"),
        wait=erlang_wait(servers, peak),
    )


def erlang_wait(servers: int, offered: float) -> float:
    """Return the mean wait for one of `servers`, in mean service times; `offered` = λ·D, less than `servers`.

    M/M/m: Poisson arrivals, exponential service, one queue (Erlang 1917). Infinite where they cannot keep up.
    """
    if offered >= servers:
        return float("inf")
    blocking = 1.0
    for count in range(1, servers + 1):  # Erlang's B, by its recursion
        blocking = offered * blocking / (count + offered * blocking)
    waiting = blocking / (1 - offered / servers * (1 - blocking))
    return waiting / (servers - offered)


def bottleneck(stations: Sequence[Station]) -> Station:
    """Return the kind of which one server is exhausted first: the one with the largest demand."""
    return max(stations, key=lambda station: station.work / station.rate)


def table(plan: Plan) -> str:
    """Return a plan as Markdown: one row for each kind of server, then what Redis keeps and what is in flight."""
    rate = mean_rate(plan.load)
    lines = [
        "| server | work per question | one does, per second | demand (ms) | one server's limit (questions/s) "
        "| servers | busy: mean | peak | peak, one lost | wait at the peak (ms) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in (need(station, plan.load) for station in plan.stations):
        station = found.station
        cells = [
            station.name,
            f"{_number(station.work)} {station.unit}",
            _number(station.rate),
            _number(found.demand * 1000),
            _number(1 / found.demand),
            f"**{found.servers}**",
            f"{found.mean:.0%}",
            f"{found.peak:.0%}",
            f"{found.lost:.0%}" if found.servers > 1 else "none left",
            _number(found.wait * found.demand * 1000),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    day, week = (plan.load.questions_per_day * each for each in (plan.for_a_day, 7 * plan.for_a_week))
    peak = rate * plan.load.peak_factor
    flying = peak * plan.seconds
    lines += [
        "",
        f"{_number(plan.load.questions_per_day)} questions a day are {rate:.1f} per second, {peak:.1f} at a peak of "
        f"{plan.load.peak_factor:g} times the mean; the target at the peak is {plan.load.target:.0%}. "
        f"What saturates first is the **{bottleneck(plan.stations).name}**. "
        f"Redis keeps {_number(plan.for_a_day / 1000)} kB per question for a day and "
        f"{_number(plan.for_a_week / 1000)} kB for a week: {_number(day / 1e9)} GB and "
        f"{_number(week / 1e9)} GB where no question comes twice. "
        f"At {plan.seconds:g} s each, {flying:,.0f} searches are in flight at the peak (Little's law).",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    """Return three significant digits, with thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def written(page: str) -> str:
    """Return the page with the tables of all plans in their places; raises `ValueError` where there is no place."""
    for name, plan in PLANS.items():
        begin = page.index(BEGIN.format(name)) + len(BEGIN.format(name))
        page = f"{page[:begin]}\n\n{table(plan)}\n\n{page[page.index(END, begin) :]}"
    return page


def main() -> None:
    """Print the tables, or write them into the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true")
    if options.parse_args().write:
        PAGE.write_text(written(PAGE.read_text()))
        return
    for name, plan in PLANS.items():
        print(f"## {name}\n\n{table(plan)}\n")


if __name__ == "__main__":
    main()
