"""Synthetic worlds with truth; detectors never import it."""
