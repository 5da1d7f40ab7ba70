"""How a job ends that no gateway of this version can read: as a failed one that says why, not begun again for ever."""

import json
from typing import Any

from service.errors import MullError
from service.jobs.store import Ending, Lease

OTHER_VERSION = MullError(
    "This job was made by another version of Mull, and cannot be done any more.", hint="Ask again."
)
MISTAKE = MullError("Mull made a mistake.", hint="Its log has the details.")


def unreadable(lease: Lease, why: MullError) -> Ending:
    """Return the end of a job whose kept response is OpenAI's, in some form: nothing else of it is touched."""
    try:
        kept = json.loads(lease.reply)
    except ValueError:
        kept = None
    error = {"code": "server_error", "message": f"{why.message} {why.hint}", "type": why.type, "param": None}
    made = {"id": lease.id, "object": "response", "output": []}
    reply: dict[str, Any] = made | (kept if isinstance(kept, dict) else {}) | {"status": "failed", "error": error}
    return Ending("failed", json.dumps(reply), (json.dumps({"type": "response.failed", "response": reply}),))
