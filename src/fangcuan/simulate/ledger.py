"""What really happened, noted while the world is made: innocent look-alikes, permits and territory changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """`innocents`: rows of truth/innocents.csv. `permits` and `redraws`: rows that the master data needs."""

    innocents: list[dict[str, Any]] = field(default_factory=list)
    permits: list[dict[str, Any]] = field(default_factory=list)
    redraws: list[dict[str, Any]] = field(default_factory=list)
    campaigns: list[dict[str, Any]] = field(default_factory=list)

    def innocent(
        self,
        kind: str,
        subject_kind: str,
        subject: str,
        region_code: str = "",
        first_day: int = -1,
        last_day: int = -1,
        units: int = 0,
        note: str = "",
    ) -> int:
        """Note one innocent look-alike and return its position; days are day numbers, -1 where open."""
        self.innocents.append(
            {
                "innocent_id": f"N{len(self.innocents) + 1:04d}",
                "kind": kind,
                "subject_kind": subject_kind,
                "subject": subject,
                "region_code": region_code,
                "first_day": first_day,
                "last_day": last_day,
                "units": units,
                "note": note,
            }
        )
        return len(self.innocents) - 1
