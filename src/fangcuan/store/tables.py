"""All tables of the casebook: importing this module fills `Base.metadata`."""

from __future__ import annotations

from fangcuan.store import (
    accounts,
    audits,
    casework,
    catalogue,
    correspondence,
    decisions,
    labels,
    masters,
    outbox,
    penalties,
    policies,
)
from fangcuan.store.base import Base

METADATA = Base.metadata

__all__ = [
    "METADATA",
    "accounts",
    "audits",
    "casework",
    "catalogue",
    "correspondence",
    "decisions",
    "labels",
    "masters",
    "outbox",
    "penalties",
    "policies",
]
