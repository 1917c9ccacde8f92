"""Finds and validates content: rules, detectors, sources and shared SQL.

Errors read `path:line: what, expected, what to do`, all of them at once. See docs/decisions/0001-content-loading.md.
"""
