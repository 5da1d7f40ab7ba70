"""Mull's moving parts: gateway, Ray Serve worker, engine clients, cache, settings, command line."""
