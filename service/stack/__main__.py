"""The supervisor behind `mull up --detach`: `python -m service.stack SETTINGS PROFILE`."""

import sys
from pathlib import Path
from typing import cast

from service.errors import MullError
from service.settings_file import load_settings
from service.stack.engine import Profile
from service.stack.lifecycle import run_stack

if __name__ == "__main__":
    settings = load_settings(Path(sys.argv[1]), environ={})
    try:
        run_stack(settings, profile=cast(Profile, sys.argv[2]), say=print, on_ready=lambda state: None)
    except MullError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
