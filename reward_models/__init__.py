"""Reward models as pure arithmetic: steps in, scores out. They say what to ask an engine; they do not ask."""
