"""The forms of PromQL that panels share."""

from service.panels.panel import Query


def quantile(share: float, histogram: str, legend: str, *, by: str = "") -> Query:
    """Return the query of a quantile, `share` in (0, 1), of what a histogram has seen; `by`: labels, with commas."""
    labels = ", ".join(filter(None, ("le", by)))
    return Query(f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[$window])))", legend)


def quantiles(histogram: str) -> tuple[Query, ...]:
    """Return the queries of the median and of the slow end."""
    return tuple(quantile(share, histogram, name) for share, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %")))


def mean(histogram: str, by: str, legend: str) -> Query:
    """Return the query of the mean of what a histogram has seen."""
    total, count = (f"sum by ({by}) (rate({histogram}_{part}[$window]))" for part in ("sum", "count"))
    return Query(f"{total} / {count}", legend)


def rate(counter: str, by: str, legend: str) -> Query:
    """Return the query of how fast a counter, or a selector of some, grows; `by`: labels, with commas."""
    return Query(f"sum by ({by}) (rate({counter}[$window]))", legend)


def share(part: str, whole: str, by: str, legend: str) -> Query:
    """Return the query of a part's share in the growth of a whole: 0 where the whole grows and the part does not."""
    of = f"sum by ({by}) (rate({whole}[$window]))"
    return Query(f"(sum by ({by}) (rate({part}[$window])) or 0 * {of}) / {of}", legend)


def share_in_all(part: str, whole: str, legend: str) -> Query:
    """Return the query of a part's share in the growth of a whole during the whole time that is looked at."""
    return Query(f"(sum(increase({part}[$range])) or vector(0)) / sum(increase({whole}[$range]))", legend)


def each_of(amount: str, count: str, by: str, legend: str) -> Query:
    """Return the query of how much of something one event costs, during the whole time that is looked at."""
    return Query(f"sum by ({by}) (increase({amount}[$range])) / sum by ({by}) (increase({count}[$range]))", legend)
