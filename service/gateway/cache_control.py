"""What a request says about memory: the request directives of `Cache-Control` (RFC 9111) that Mull serves.

`no-store`: nothing is read and nothing kept. `no-cache`: nothing is read, what is found is kept. `max-age=N`: an answer
that was found more than N seconds ago is not taken. Unknown directives are ignored, as the RFC demands.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from starlette.datastructures import Headers

from service.errors import InvalidRequest
from service.gateway.plan import Plan
from service.gateway.score_ask import ScorePlan
from service.search.request import Memory

LONGEST_AGE_S = 2**31
"""Greater ages mean this one: so does the RFC."""

_SUPPORTED = "Supported: no-cache, no-store, max-age=SECONDS."
_REFUSED = ("max-stale", "min-fresh", "only-if-cached")
# Nothing is tried twice (`*+`): a long header costs no more than its length.
_MEMBER = re.compile(r'[ \t]*+([^ \t=,"]*+)[ \t]*+(?:=[ \t]*+("(?:[^"\\]|\\.)*+"|[^ \t,"]*+)[ \t]*+)?(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class CacheWish:
    """What of earlier requests may be used; `max_age_s`: seconds that a kept answer may be old, `None` for any."""

    memory: Memory = "use"
    max_age_s: int | None = None

    def of(self, plan: Plan) -> Plan:
        """Return the search of `plan` as it is made with this wish."""
        return replace(plan, request=plan.request.model_copy(update={"memory": self.memory}))

    def of_scores(self, plan: ScorePlan) -> ScorePlan:
        """Return the same for scores. How old one is nobody knows: with any `max-age` they are made anew."""
        memory = "renew" if self.memory == "use" and self.max_age_s is not None else self.memory
        return replace(plan, request=plan.request.model_copy(update={"memory": memory}))


def cache_wish(headers: Headers) -> CacheWish:
    """Return what a request's headers say; without `Cache-Control`, `Pragma: no-cache` means `no-cache`.

    Of several `max-age` the shortest counts. Raises `InvalidRequest` for directives that would have to be obeyed and
    are not served, and for a header that cannot be read.
    """
    fields = headers.getlist("cache-control")
    if not fields:
        pragma = {name for name, _ in _directives(",".join(headers.getlist("pragma")), "Pragma")}
        return CacheWish("renew") if "no-cache" in pragma else CacheWish()
    asked = list(_directives(",".join(fields), "Cache-Control"))
    names = {name for name, _ in asked}
    for name in _REFUSED:
        if name in names:
            raise InvalidRequest(f"`Cache-Control: {name}` is not served.", hint=_SUPPORTED, param="Cache-Control")
    ages = [_seconds(value) for name, value in asked if name == "max-age"]
    if "no-store" in names:
        return CacheWish("none")
    if "no-cache" in names or 0 in ages:
        return CacheWish("renew")
    return CacheWish("use", min(ages, default=None))


def _directives(field: str, header: str) -> Iterator[tuple[str, str | None]]:
    """Yield names, in small letters, and arguments. Raises `InvalidRequest` for what is no list of directives."""
    place = 0
    while place < len(field):
        found = _MEMBER.match(field, place)
        if found is None:
            raise InvalidRequest(f"The header {header} cannot be read.", hint=_SUPPORTED, param=header)
        name, value = found[1].lower(), found[2]
        if value is not None and value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        yield name, value
        place = found.end()


def _seconds(value: str | None) -> int:
    if value is None or not (value.isascii() and value.isdecimal()):
        raise InvalidRequest(
            "`Cache-Control: max-age` needs a whole number of seconds.", hint=_SUPPORTED, param="Cache-Control"
        )
    # Not by int() alone: it refuses thousands of digits.
    digits = value.lstrip("0") or "0"
    return LONGEST_AGE_S if len(digits) > len(str(LONGEST_AGE_S)) else min(int(digits), LONGEST_AGE_S)
