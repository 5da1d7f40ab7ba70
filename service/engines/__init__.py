"""Clients of vLLM servers: they move bytes, and turn every failure into an error of ours."""
