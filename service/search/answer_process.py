"""The process that parses answers, so that one that hangs, crashes or grows harms nobody.

It reads one question per line, `["key", tidied]` or `["verify", gold, answer]`, and writes one reply per line, all in
JSON: the canonical key or `null` where the text is no formula, or whether the two are equal. The first line it
writes is `"ready"`. It ends when its input does. Needs POSIX.
"""

import json
import logging
import math
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable

from math_verify import verify

from service.search.answer_value import formulas, value_key

_MEMORY_BYTES = 1 << 30
_CPU_SECONDS_PER_LINE = 2
"""Of processor time: what a busy machine makes slow is still read, so that a key does not depend on the load."""


def _key(tidied: str) -> str | None:
    try:
        return value_key(tidied)
    except Exception:  # sympy raises nearly everything on nonsense; its text is then its own key
        return None


def _verify(gold: str, answer: str) -> bool:
    parsed = formulas(gold), formulas(answer)
    return bool(all(parsed) and verify(*parsed, timeout_seconds=None))


_OPERATIONS: dict[str, Callable[..., str | bool | None]] = {"key": _key, "verify": _verify}


def main() -> None:
    """Answer lines until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides about us
    logging.disable()
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the replies
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    print(json.dumps("ready"), file=replies)
    for line in sys.stdin:
        operation, *texts = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = math.ceil(used.ru_utime + used.ru_stime) + _CPU_SECONDS_PER_LINE
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))  # SIGXCPU ends the process
        print(json.dumps(_OPERATIONS[operation](*texts)), file=replies)


if __name__ == "__main__":
    main()
