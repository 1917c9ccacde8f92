"""Labels of past decisions, frozen into a file whose digest the history holds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from fangcuan.cases.filing.labels import frozen_labels
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import administering
from fangcuan.flow.export import ExportError
from fangcuan.flow.installation import Installation
from fangcuan.store.jsontext import canonical_text


def export_labels(
    installation: Installation, actor: Actor, out: Path, *, until: dt.datetime | None = None
) -> dict[str, Any]:
    """Write labels as known at `until` (default: now) as JSON lines; `rows`, `digest` and `until` of the set.

    The digest is sha256 over the rows as canonical JSON. An event records who froze which set. Raises CommandRefused, and
    ExportError where the file cannot be written.
    """
    moment = until or dt.datetime.now(dt.UTC)
    with administering(installation.engine, actor, "export_labels", out.name, None) as (_, _, record):
        rows, digest = frozen_labels(installation.engine, moment)
        text = b"".join(canonical_text(row) + b"\n" for row in rows)
        try:
            out.write_bytes(text)
        except OSError as error:
            raise ExportError(f"{out}: {error.strerror or error}") from error
        told = {"rows": len(rows), "digest": digest, "until": moment.isoformat()}
        record("labels.exported", told)
    return told


def counts(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """unit → label → number of findings, for a summary."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        of_unit = found.setdefault(row["unit_id"], {"right": 0, "wrong": 0, "unclear": 0})
        of_unit[row["label"]] += 1
    return found
