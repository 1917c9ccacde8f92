"""Fetch, read, map, gate and load one source."""
