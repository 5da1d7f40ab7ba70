"""What unit a PromQL expression has, by the names of the metrics in it: as much dimension analysis as panels need."""

from __future__ import annotations

import re
from collections import Counter

from service.panels.panel import Unit

# Of each unit its power: tokens per second are {"tokens": 1, "s": -1}, and a share is {}.
Dimension = dict[str, int]

_STRING = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"\{[^}]*\}")
_DURATION = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(by|without|on|ignoring)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w:])[A-Za-z_:][\w:]*")
_KEYWORDS = {"or", "and", "unless", "offset", "bool"}
_ENDINGS = {"_seconds": {"s": 1}, "_bytes": {"bytes": 1}, "_tokens": {"tokens": 1}}
_OTHERS: dict[str, Dimension] = {
    # Whose name does not end with its unit.
    "vllm:prefix_cache_hits": {"tokens": 1},
    "vllm:prefix_cache_queries": {"tokens": 1},
    "vllm:kv_cache_usage_perc": {},
    "mull_vote_confidence": {},
    "mull_vote_margin": {},
    "mull_answer_score": {},
    "mull_cost": {"money": 1},
    "mull_remembered_scores": {"scores": 1},
    "ray_mull_search_expansions": {"nodes": 1},
}
_MEASURES = ("s", "bytes", "tokens", "money")
_PER_ANSWER = {"requests": -1}
_PANELS: dict[Unit, tuple[Dimension, ...]] = {
    Unit.SECONDS: ({"s": 1},),
    Unit.BYTES: ({"bytes": 1},),
    Unit.SHARE: ({},),
    # Seconds of work per second.
    Unit.CORES: ({},),
    Unit.TOKENS: ({"tokens": 1}, {"tokens": 1, **_PER_ANSWER}),
    Unit.MONEY: ({"money": 1}, {"money": 1, **_PER_ANSWER}),
    Unit.REQUESTS_PER_S: ({"requests": 1, "s": -1},),
    Unit.TOKENS_PER_S: ({"tokens": 1, "s": -1},),
    Unit.NODES_PER_S: ({"nodes": 1, "s": -1},),
    Unit.SCORES_PER_S: ({"scores": 1, "s": -1},),
    Unit.MONEY_PER_S: ({"money": 1, "s": -1},),
}


def metrics(promql: str) -> set[str]:
    """Return the names of the metrics in an expression."""
    bare = promql
    for pattern in (_STRING, _SELECTOR, _DURATION, _GROUPING):
        bare = pattern.sub("", bare)
    names = (found for found in _NAME.finditer(bare) if not bare[found.end() :].lstrip().startswith("("))
    return {found[0] for found in names if found[0] not in _KEYWORDS}


def fits(unit: Unit, promql: str) -> bool:
    """Tell whether an expression has a panel's unit. Raises `ValueError` where its parts do not fit together."""
    found = dimension(promql)
    if unit is Unit.COUNT:
        # Of anything that can be counted.
        return len(found) == 1 and set(found.values()) == {1} and not set(found) & set(_MEASURES)
    return found in _PANELS[unit]


def dimension(promql: str) -> Dimension:
    """Return the dimension of an expression; raises `ValueError` where its parts do not fit together."""
    parts = _divided(promql)
    if len(parts) > 1:
        powers = Counter(dimension(parts[0]))
        for part in parts[1:]:
            powers.subtract(dimension(part))
        return {name: power for name, power in powers.items() if power}
    found = [_of(name, promql) for name in sorted(metrics(promql))]
    if not found or any(one != found[0] for one in found):
        raise ValueError(f"{promql} is of no one unit: {found}")
    return found[0]


def _of(name: str, promql: str) -> Dimension:
    """Return the dimension of a metric where it stands in an expression without a division."""
    ending = next((ending for ending in ("_total", "_bucket", "_count", "_sum") if name.endswith(ending)), "")
    base = name.removesuffix(ending)
    powers = Counter(
        next((of for end, of in _ENDINGS.items() if base.endswith(end)), _OTHERS.get(base, {"requests": 1}))
    )
    if "histogram_quantile(" in promql:
        return dict(powers)
    if ending in ("_bucket", "_count"):
        powers = Counter({"requests": 1})
    elif ending == "_sum":
        # Of a value for each request.
        powers["requests"] += 1
    if "rate(" in promql:
        powers["s"] -= 1
    return {unit: power for unit, power in powers.items() if power}


def _divided(promql: str) -> list[str]:
    """Return the expression cut at the divisions that stand in no parentheses, once the outermost are off."""
    text = promql.strip()
    while text.startswith("(") and _closes(text) == len(text) - 1:
        text = text[1:-1].strip()
    depth, parts, begun = 0, [], 0
    for place, char in enumerate(_STRING.sub(lambda found: "_" * len(found[0]), text)):
        depth += (char in "({[") - (char in ")}]")
        if char == "/" and depth == 0:
            parts.append(text[begun:place])
            begun = place + 1
    return [*parts, text[begun:]]


def _closes(text: str) -> int:
    """Return where the parenthesis that a text begins with is closed."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return place
    raise ValueError(f"{text} has a parenthesis that is not closed")
