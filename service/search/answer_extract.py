"""Finds the answer in a solution: the last balanced `\\boxed{…}`, or what follows the last phrase that announces it."""

import re

_BRACES = re.compile(r"\\{1,2}(?:boxed|fbox)\s{0,3}(?P<open>\{)|\\{1,2}boxed\s?(?P<bare>-?[0-9A-Za-z]+)|\\.|[{}]", re.S)
_ANNOUNCED = re.compile(r"\banswer\*{0,2}[ \t]{0,5}(?:is|:|=)[ \t:*]{0,8}|####[ \t]{0,5}", re.I)
_INLINE_MATH = re.compile(r"\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)|\*\*")
_LONGEST_PHRASE = 200


def extract(solution: str) -> str | None:
    """Return the answer as the policy wrote it, or `None` where the solution announces none.

    Taken are, in this order: the last `\\boxed{…}` whose braces balance, else the rest of the line after the last
    "answer is", "answer:" or "####". A bare last number is no answer: nothing says that it is the result. Time is
    linear in the length of the solution. Source: the convention of MATH (Hendrycks et al. 2021, arXiv:2103.03874)
    and of GSM8K (Cobbe et al. 2021, arXiv:2110.14168).
    """
    return last_boxed(solution) or _last_announced(solution)


def last_boxed(solution: str) -> str | None:
    """Return what the last balanced `\\boxed{…}` holds; `None` where no box holds anything."""
    opened: list[int | None] = []  # one entry per open brace: where the content of a box begins, None for others
    last: tuple[int, str] | None = None
    for token in _BRACES.finditer(solution):
        if token["open"]:
            opened.append(token.end())
        elif token["bare"]:
            last = (token.start(), token["bare"])
        elif token[0] == "{":
            opened.append(None)
        elif token[0] == "}" and opened:
            start = opened.pop()
            # Of nested boxes the inner one, which begins later, is kept.
            if start is not None and (last is None or start > last[0]):
                content = solution[start : token.start()].strip()
                last = (start, content) if content else last
    return last[1] if last else None


def announced(solution: str) -> str | None:
    """Return the rest of the line after the last phrase that announces an answer, if there is one; it may be cut."""
    end = None
    for phrase in _ANNOUNCED.finditer(solution):
        end = phrase.end()
    return None if end is None else solution[end : end + _LONGEST_PHRASE + 1].split("\n", 1)[0].strip()


def _last_announced(solution: str) -> str | None:
    rest = announced(solution)
    if rest is None:
        return None
    math = _INLINE_MATH.match(rest)
    if math:
        return next(group for group in math.groups() if group is not None).strip() or None
    stop = _SENTENCE_END.search(rest)
    answer = rest[: stop.start()] if stop else rest
    return answer.strip() or None if len(answer) <= _LONGEST_PHRASE else None
