"""Traces on disk: one JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.errors import InvalidRequest


def check_writable(file: Path) -> None:
    """Raise `InvalidRequest` where a trace could not be written: before the search has cost anything."""
    if file.is_dir() or not file.resolve().parent.is_dir():
        raise InvalidRequest(f"No trace can be written to {file}.", hint="Name a file in a folder that exists.")


def write_trace(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the records of a trace, all of them or, where that fails, none. Raises `InvalidRequest`."""
    new = file.with_name(f"{file.name}.new")
    try:
        with new.open("w", encoding="utf-8") as lines:
            for record in records:
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
        new.replace(file)
    except OSError as error:
        raise InvalidRequest(f"The trace cannot be written to {file}: {error.strerror}.") from error
