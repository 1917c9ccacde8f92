"""The decision layer: which findings of a night may open a case, how they are worded and what they allow.

Today a finding of a rule in the role `case` is a *signal*: it opens a case whose only action is `observe`, and findings of
models support cases and open none. Calibrated evidence, controlled false discoveries and ranking take this place later; what
they need (all findings of the night at once) is what this function already gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fangcuan.core.finding import Finding

WORDING = "signal"
ALLOWED_ACTION = "observe"


@dataclass(frozen=True)
class Decisions:
    """What is filed, what supports filed cases, and what is only kept; each sorted by finding id."""

    file: tuple[Finding, ...]
    support: tuple[Finding, ...]
    keep: tuple[Finding, ...]
    wording: str = WORDING
    allowed_action: str = ALLOWED_ACTION


def decide(findings: Sequence[Finding], supporting_units: frozenset[str], shadow_units: frozenset[str]) -> Decisions:
    """Sort the findings of one night. Shadow units compute and file nothing."""
    ordered = sorted(findings, key=lambda finding: finding.finding_id)
    live = [finding for finding in ordered if finding.unit_id not in shadow_units]
    return Decisions(
        file=tuple(f for f in live if f.role == "case" and f.unit_id not in supporting_units),
        support=tuple(f for f in live if f.unit_id in supporting_units),
        keep=tuple(f for f in live if f.role != "case" and f.unit_id not in supporting_units),
    )
