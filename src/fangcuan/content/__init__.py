"""Finds and validates content."""
