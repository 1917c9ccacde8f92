"""The evidence store against itself and against the casebook."""

from __future__ import annotations

from fangcuan.cases.evidence.index import expected
from fangcuan.cases.evidence.store import Problem
from fangcuan.flow.installation import Installation
from fangcuan.store.database import read


def scrub(installation: Installation) -> list[Problem]:
    """What is altered, writable or misplaced in the store, and what findings, cases and letters name and is missing."""
    with read(installation.engine) as connection:
        named = set(expected(connection))
    return installation.evidence.scrub(named)
