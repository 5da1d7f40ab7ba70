"""`python -m service.cli` is `mull`."""

from service.cli import app

app()
