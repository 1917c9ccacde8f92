"""Rows that broke a rule: list them, correct them, play them back through the same gate."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from fangcuan.detect.relations import night_end
from fangcuan.flow.configured import WORLD, sources
from fangcuan.flow.installation import Installation
from fangcuan.flow.pulling import References, first_open_night
from fangcuan.ingest import connectors
from fangcuan.ingest.base import RawDocument
from fangcuan.ingest.batch import load_document, quarantined_rows
from fangcuan.ingest.load import BatchReceipt, Loader
from fangcuan.ingest.source import ConnectorSpec, FeedSpec, SourceSpec, Title
from fangcuan.store.catalogue import Quarantine, Receipt
from fangcuan.store.database import read


class NothingThere(LookupError):
    """No quarantined batch of that id; the message says how to list them."""


def list_quarantine(installation: Installation, *, state: str | None = "open", rows: int = 20) -> list[dict[str, Any]]:
    """Quarantined batches, oldest first, each with up to `rows` of its rows: position, reasons, raw values."""
    statement = (
        select(Quarantine.__table__, Receipt.document_name, Receipt.arrived_on, Receipt.quarantined_by_reason)
        .join(Receipt, Receipt.receipt_id == Quarantine.receipt_id)
        .order_by(Receipt.arrived_on, Quarantine.source_id, Quarantine.relation, Quarantine.receipt_id)
    )
    if state:
        statement = statement.where(Quarantine.state == state)
    with read(installation.engine) as connection:
        batches = [dict(row) for row in connection.execute(statement).mappings()]
    for batch in batches:
        batch["arrived_on"] = batch["arrived_on"].isoformat()
        batch["examples"] = quarantined_rows(installation.settings.lake_path / batch["path"])[:rows]
    return batches


def rows_of_receipt(installation: Installation, receipt_id: str) -> list[dict[str, Any]]:
    """Quarantined rows of one batch, [] where none are: position, reasons, raw values."""
    statement = select(Quarantine.path).where(Quarantine.receipt_id == receipt_id)
    with read(installation.engine) as connection:
        path = connection.execute(statement).scalar_one_or_none()
    return quarantined_rows(installation.settings.lake_path / path) if path else []


def _batch(installation: Installation, receipt_id: str) -> Mapping[str, Any]:
    statement = (
        select(Quarantine.__table__, Receipt.document_name)
        .join(Receipt, Receipt.receipt_id == Quarantine.receipt_id)
        .where(Quarantine.receipt_id.startswith(receipt_id))
    )
    with read(installation.engine) as connection:
        found = connection.execute(statement).mappings().all()
    if len(found) != 1:
        what = "no quarantined batch" if not found else f"{len(found)} quarantined batches"
        raise NothingThere(f"{what} with id {receipt_id!r}; `fangcuan quarantine list` shows them")
    return dict(found[0])


def export_quarantine(installation: Installation, receipt_id: str, out: Path) -> int:
    """Write the raw rows of a batch as CSV to correct by hand, with `_position` and `_reasons` in front; gives their number."""
    batch = _batch(installation, receipt_id)
    rows = quarantined_rows(installation.settings.lake_path / batch["path"])
    columns = list(dict.fromkeys(name for row in rows for name in row["raw"]))
    with out.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["_position", "_reasons", *columns])
        for row in rows:
            reasons = "; ".join(
                f"{r['reason']} {r.get('column') or ''}: {r.get('expected', '')}" for r in row["reasons"]
            )
            writer.writerow([row["position"], reasons, *(row["raw"].get(name) for name in columns)])
    return len(rows)


def replay_quarantine(
    installation: Installation, receipt_id: str, corrected: Path | None = None, night: dt.date | None = None
) -> BatchReceipt:
    """Play a batch back: as it is (master data may have arrived since), or from a corrected CSV. What is still wrong is
    quarantined anew under the replay's own receipt; the old batch is marked as replayed either way.
    """
    batch = _batch(installation, receipt_id)
    if corrected is None:
        rows = [row["raw"] for row in quarantined_rows(installation.settings.lake_path / batch["path"])]
    else:
        text = corrected.read_text(encoding="utf-8-sig")
        rows = [
            {name: value or None for name, value in row.items() if name and not name.startswith("_")}
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
    blocks = (json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n" for row in rows)
    path, sha256, size = installation.raw.stage(blocks)
    arrived = first_open_night(installation) or night or dt.datetime.now(installation.settings.zone).date()
    name = f"{batch['document_name']} (replay)"
    document = RawDocument(batch["source_id"], f"{name}.jsonl", path, sha256, size, arrived)
    spec = _replay_spec(installation, batch["source_id"], batch["relation"])
    loader = Loader(installation.settings, installation.engine)
    end = night_end(arrived, installation.settings)
    (receipt,) = load_document(
        loader, spec, document, References(installation).of, end, replays=str(batch["receipt_id"])
    )
    return receipt


def _replay_spec(installation: Installation, source_id: str, relation: str) -> SourceSpec:
    """The source with its raw rows read back as JSON lines; a few rows need not meet what a whole batch must."""
    options = connectors.get("files").Options.model_validate({"path": "-", "format": "jsonl", "arrival": "night"})
    reader = ConnectorSpec(kind="files", options=options)
    if source_id.startswith(WORLD):
        feeds: tuple[FeedSpec, ...] = (FeedSpec(relation=relation, identity=True),)
        return SourceSpec(
            id=source_id, title=Title(en=source_id, zh=source_id), owner="world", connector=reader, feeds=feeds
        )
    spec = sources(installation)[source_id]
    feeds = tuple(
        feed.model_copy(update={"expect": feed.expect.model_copy(update={"rows": (None, None), "max_age_days": None})})
        for feed in spec.feeds
        if feed.relation == relation
    )
    return spec.model_copy(update={"connector": reader, "feeds": feeds})


__all__ = ["NothingThere", "export_quarantine", "list_quarantine", "replay_quarantine", "rows_of_receipt"]
