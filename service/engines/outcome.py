"""How a request to a server ended."""

from typing import Literal, get_args

Outcome = Literal["ok", "failed", "refused", "left"]
"""`failed` by a fault of the server's, `refused` by one of the request's; `left`: nobody waited for its end."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
