"""One document through read, map, gate and load, as every relation its source feeds."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fangcuan.core.contract import Relation
from fangcuan.core.failpoints import hit
from fangcuan.ingest import connectors
from fangcuan.ingest.base import RawDocument, Refused
from fangcuan.ingest.extract import extractor
from fangcuan.ingest.gate import BAD_SCHEMA, Gate, Statistics, judge
from fangcuan.ingest.load import BatchReceipt, Loader, earlier_load, known_receipt, receipt_id
from fangcuan.ingest.mapping import Mapper, arrow_schema
from fangcuan.ingest.source import RELATIONS, FeedSpec, SourceSpec

#: Rows read at a time; bounds the memory of a load.
CHUNK_ROWS = 100_000

#: References a gate checks, as a function of the relations known when a batch arrives.
References = Callable[[Relation], Mapping[str, frozenset[str]]]


@dataclass
class _Batch:
    """One relation of one document on its way through the gate."""

    feed: FeedSpec
    relation: Relation
    identity: str
    folder: Path
    mapper: Mapper
    gate: Gate
    statistics: Statistics = field(default_factory=Statistics)
    issues: list[str] = field(default_factory=list)
    good: pq.ParquetWriter | None = None
    bad: pq.ParquetWriter | None = None

    @property
    def good_path(self) -> Path:
        return self.folder / "good.parquet"

    @property
    def bad_path(self) -> Path:
        return self.folder / "bad.parquet"

    def take(self, table: pa.Table, source_id: str) -> None:
        mapped = self.mapper.apply(table)
        self.issues += [issue.message for issue in mapped.issues]
        result = self.gate.check(mapped)
        self.statistics.add(result.statistics)
        good = _with_source(result.good, source_id)
        if self.good is None:
            self.good = pq.ParquetWriter(self.good_path, arrow_schema(self.relation), compression="zstd")
        if good.num_rows:
            self.good.write_table(good)
        if result.bad.num_rows:
            if self.bad is None:
                self.bad = pq.ParquetWriter(self.bad_path, BAD_SCHEMA, compression="zstd")
            self.bad.write_table(result.bad)

    def close(self) -> None:
        for writer in (self.good, self.bad):
            if writer is not None:
                writer.close()


def _with_source(table: pa.Table, source_id: str) -> pa.Table:
    if "source_id" not in table.column_names:
        return table
    position = table.column_names.index("source_id")
    filled = pc.fill_null(table.column(position), source_id)
    return table.set_column(position, table.schema.field(position), filled)


def load_document(
    loader: Loader,
    spec: SourceSpec,
    document: RawDocument,
    references: References,
    night_end: dt.datetime,
    *,
    replays: str | None = None,
) -> list[BatchReceipt]:
    """Receipts of one document, one per relation. Loading it again is a no-op with the same receipts' identities."""
    # A connector that knows what a document holds before reading it spares the other feeds an empty batch.
    tell = getattr(connectors.get(spec.connector.kind), "relation_of", None)
    holds = tell(document) if tell else None
    wanted = [feed for feed in spec.feeds if holds in (None, feed.relation)] or list(spec.feeds[:1])
    found: dict[str, BatchReceipt] = {}
    for feeds in _passes(wanted):
        for receipt in _load_feeds(loader, spec, document, feeds, references, night_end, replays):
            found[receipt.relation] = receipt
    return [found[feed.relation] for feed in wanted]


def _passes(wanted: Sequence[FeedSpec]) -> list[list[FeedSpec]]:
    """Feeds that are read together. Master data goes first, one table after the other and what others refer to before them, so
    that a register which brings regions and the partners in them is checked against itself; events are one pass."""
    masters = [feed for feed in wanted if RELATIONS[feed.relation].kind == "master"]
    events = [feed for feed in wanted if RELATIONS[feed.relation].kind == "event"]
    passes = [[feed] for feed in sorted(masters, key=lambda feed: _depth(feed.relation))]
    return [*passes, events] if events else passes


def _depth(name: str) -> int:
    """How many tables stand between this one and one that refers to nothing."""
    below = {column.references.split(".")[0] for column in RELATIONS[name].columns if column.references} - {name}
    return max((1 + _depth(other) for other in below), default=0)


def _load_feeds(
    loader: Loader,
    spec: SourceSpec,
    document: RawDocument,
    feeds: list[FeedSpec],
    references: References,
    night_end: dt.datetime,
    replays: str | None,
) -> list[BatchReceipt]:
    connector = connectors.get(spec.connector.kind)
    waiting: list[_Batch] = []
    receipts: list[BatchReceipt] = []
    for feed in feeds:
        relation = RELATIONS[feed.relation]
        identity = receipt_id(spec.id, relation.name, document)
        known = known_receipt(loader.engine, identity)
        if known is not None:
            receipts.append(_from_row(known, document))
            continue
        earlier = earlier_load(loader.engine, spec.id, relation.name, document)
        if earlier is not None:
            rows = earlier["rows_loaded"] + earlier["rows_duplicate"]
            receipt = _receipt(spec, feed, document, "duplicate", rows_read=earlier["rows_read"], rows_duplicate=rows)
            receipts.append(loader.record(receipt))
            continue
        folder = loader.lake.root / "_work" / f"batch-{identity[:16]}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        gate = Gate(relation, feed.expect, references(relation), night_end)
        mapper = Mapper(relation, feed, loader.settings.timezone, memory=loader.settings.memory_limit)
        waiting.append(_Batch(feed, relation, identity, folder, mapper, gate))
    if waiting:
        receipts += _load_batches(loader, spec, connector, document, waiting, night_end, replays)
    return receipts


def _load_batches(
    loader: Loader,
    spec: SourceSpec,
    connector: Any,
    document: RawDocument,
    batches: list[_Batch],
    night_end: dt.datetime,
    replays: str | None,
) -> list[BatchReceipt]:
    # Quarantined rows were kept as they came out of the extraction; played back they do not go through it again.
    extract = extractor(spec) if replays is None else None
    try:
        with ExitStack() as stack:
            for batch in batches:
                stack.callback(batch.close)
            for chunk in connector.read(document, spec.connector.options, CHUNK_ROWS):
                table = extract(chunk.table) if extract else chunk.table
                for batch in batches:
                    if chunk.relation in (None, batch.relation.name):
                        batch.take(table, spec.id)
                        hit("load.between_chunks")
    except Refused as error:
        where = "; ".join(part for part in (error.position, error.column and f"column {error.column}") if part)
        message = f"{document.name}: {error.message}" + (f" ({where})" if where else "")
        return [
            loader.record(_receipt(spec, batch.feed, document, "refused", reason=error.reason, message=message))
            for batch in batches
        ]
    return [_finish(loader, spec, document, batch, night_end, replays) for batch in batches]


def _finish(
    loader: Loader, spec: SourceSpec, document: RawDocument, batch: _Batch, night_end: dt.datetime, replays: str | None
) -> BatchReceipt:
    verdict = judge(batch.statistics, batch.feed.expect, night_end)
    quarantine = _keep_quarantine(loader, batch) if batch.bad is not None else None
    receipt = _receipt(
        spec,
        batch.feed,
        document,
        "held" if verdict.state == "held" else "loaded",
        rows_read=batch.statistics.rows + batch.statistics.skipped,
        rows_quarantined=batch.statistics.quarantined,
        quarantined_by_reason=dict(sorted(batch.statistics.reasons.items())),
        issues=tuple(batch.issues),
        gate={**batch.statistics.summary(), "verdict": verdict.state, "held_for": list(verdict.reasons)},
        reason=verdict.reasons[0]["reason"] if verdict.reasons else None,
        message="; ".join(item["message"] for item in verdict.reasons) or None,
        replays=replays,
    )
    if verdict.state == "held" or batch.good is None:
        done = loader.record(receipt, quarantine)
    elif batch.relation.kind == "event":
        done = loader.load_events(batch.relation, batch.good_path, receipt, quarantine)
    else:
        done = loader.load_master(batch.relation, batch.good_path, receipt, quarantine)
    for path in (batch.good_path, batch.bad_path):
        path.unlink(missing_ok=True)
    batch.folder.rmdir()
    return done


def _keep_quarantine(loader: Loader, batch: _Batch) -> Path:
    path = loader.lake.root / "quarantine" / batch.relation.name / f"{batch.identity[:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(batch.bad_path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    pq.write_table(table, partial, compression="zstd")
    partial.replace(path)
    return path


def _receipt(spec: SourceSpec, feed: FeedSpec, document: RawDocument, state: str, **more: Any) -> BatchReceipt:
    identity = receipt_id(spec.id, feed.relation, document)
    return BatchReceipt(identity, spec.id, feed.relation, document, state, **more)


def _from_row(row: Mapping[str, Any], document: RawDocument) -> BatchReceipt:
    names = ("state", "rows_read", "rows_loaded", "rows_duplicate", "rows_quarantined", "quarantined_by_reason")
    more = {name: row[name] for name in (*names, "reason", "message", "gate", "output_sha256", "replays")}
    return BatchReceipt(
        row["receipt_id"], row["source_id"], row["relation"], document, issues=tuple(row["issues"]), **more
    )


def quarantined_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a quarantine file: position, reasons (list), raw (the source's own columns)."""
    rows = pq.read_table(path).to_pylist()
    return [{**row, "reasons": json.loads(row["reasons"]), "raw": json.loads(row["raw"])} for row in rows]
