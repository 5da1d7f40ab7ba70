"""Measurements of a running stack; each command ends in one line of JSON."""
