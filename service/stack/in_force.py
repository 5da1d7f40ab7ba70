"""Which settings hold: those of the stack that runs, if one does."""

from service.settings import Settings
from service.settings_file import load_settings
from service.stack.state import StateDir


def settings_in_force() -> Settings:
    """Return the running stack's settings, which know every URL, or else what is configured."""
    configured = load_settings()
    state_dir = StateDir(configured.state_dir)
    state = state_dir.load()
    if state is not None and state.supervisor.alive() and state_dir.settings.exists():
        return load_settings(state_dir.settings, environ={})
    return configured
