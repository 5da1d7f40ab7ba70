"""The process that tries clients' patterns, so that one that backtracks for ever harms nobody.

It reads one question per line, `["last", pattern, text]`, and writes one reply per line, both in JSON: what the group
of the last match holds, or `false` where nothing matches. The first line it writes is `"ready"`. It ends when its input
does, and when a question takes too much of a processor's time. Needs POSIX.
"""

import json
import math
import os
import re
import resource
import signal
import sys
import warnings

LONGEST_ANSWER = 8_000
"""Characters: a reply is a line of at most 64 KiB, and JSON writes some characters in six."""

_MEMORY_BYTES = 1 << 29
_CPU_SECONDS_PER_LINE = 1


def last_match(pattern: str, text: str) -> str | bool:
    """Return what the group holds in the last match in which it holds something; `False` where there is none."""
    last: str | bool = False
    for found in re.finditer(pattern, text):
        if found[1]:
            last = found[1]
    return last if isinstance(last, bool) or len(last) <= LONGEST_ANSWER else False


def main() -> None:
    """Answer lines until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides about us
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    print(json.dumps("ready"), file=replies)
    for line in sys.stdin:
        _, pattern, text = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = math.ceil(used.ru_utime + used.ru_stime) + _CPU_SECONDS_PER_LINE
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))  # SIGXCPU ends the process
        print(json.dumps(last_match(pattern, text)), file=replies)


if __name__ == "__main__":
    main()
