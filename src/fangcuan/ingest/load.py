"""Load what passed the gate: events into the lake, master data into the casebook, each with its receipt, all or nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from fangcuan.content.shared_sql import custody_steps
from fangcuan.core.canonical import digest
from fangcuan.core.contract import Relation
from fangcuan.core.failpoints import hit
from fangcuan.ingest.base import RawDocument
from fangcuan.settings import Settings
from fangcuan.store.catalogue import LakeFileRow, LoadHead, Quarantine, Receipt
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES, business_key, content_digest, version_digest
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, literal, quote
from fangcuan.warehouse.lake import Lake, LakeFile, row_key_sql


@dataclass(frozen=True)
class BatchReceipt:
    """What became of one document as one relation; counts are rows. See `store.catalogue.Receipt`."""

    receipt_id: str
    source_id: str
    relation: str
    document: RawDocument
    state: str
    rows_read: int = 0
    rows_loaded: int = 0
    rows_duplicate: int = 0
    rows_quarantined: int = 0
    quarantined_by_reason: Mapping[str, int] = field(default_factory=dict)
    issues: tuple[str, ...] = ()
    reason: str | None = None
    message: str | None = None
    gate: Mapping[str, Any] | None = None
    output_sha256: str | None = None
    replays: str | None = None

    def as_row(self) -> dict[str, Any]:
        names = [column.name for column in Receipt.__table__.columns]
        own = {
            "document_name": self.document.name,
            "document_sha256": self.document.sha256,
            "document_bytes": self.document.size,
            "arrived_on": self.document.arrived_on,
            "issues": list(self.issues),
            "recorded_at": dt.datetime.now(dt.UTC),
        }
        return {name: own[name] if name in own else getattr(self, name) for name in names}


def receipt_id(source_id: str, relation: str, document: RawDocument) -> str:
    """Identity of one batch: the same document for the same night is the same batch."""
    return digest([source_id, relation, document.sha256, document.arrived_on])


def known_receipt(engine: Engine, identity: str) -> Mapping[str, Any] | None:
    with read(engine) as connection:
        row = connection.execute(select(Receipt.__table__).where(Receipt.receipt_id == identity)).mappings().first()
    return dict(row) if row else None


def earlier_load(engine: Engine, source_id: str, relation: str, document: RawDocument) -> Mapping[str, Any] | None:
    """The receipt under which this very document was loaded before, on whatever night."""
    statement = select(Receipt.__table__).where(
        Receipt.source_id == source_id,
        Receipt.relation == relation,
        Receipt.document_sha256 == document.sha256,
        Receipt.state == "loaded",
    )
    with read(engine) as connection:
        row = connection.execute(statement).mappings().first()
    return dict(row) if row else None


def insert_new(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> int:
    """Insert rows whose primary key is not there yet; gives how many were new."""
    if not rows:
        return 0
    make = postgres_insert if connection.dialect.name == "postgresql" else sqlite_insert
    statement = make(table).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return len(connection.execute(statement, rows).fetchall())


class Loader:
    """Loads gated batches of one installation."""

    def __init__(self, settings: Settings, engine: Engine):
        self.settings = settings
        self.engine = engine
        self.lake = Lake(settings.lake_path)

    # -- receipts without a load -------------------------------------------------------------------------------------

    def record(self, receipt: BatchReceipt, quarantine: Path | None = None) -> BatchReceipt:
        """Store a receipt of a batch that brought nothing (refused, held, duplicate). Storing it again changes nothing."""
        with write(self.engine) as connection:
            self._write_receipt(connection, receipt, quarantine)
        return receipt

    def _write_receipt(self, connection: Connection, receipt: BatchReceipt, quarantine: Path | None) -> bool:
        if not insert_new(connection, Receipt.__table__, [receipt.as_row()]):
            return False
        if quarantine is not None:
            described = self.lake.describe(
                str(quarantine.relative_to(self.lake.root)), receipt.relation, None, receipt.document.arrived_on
            )
            row = {
                "receipt_id": receipt.receipt_id,
                "source_id": receipt.source_id,
                "relation": receipt.relation,
                "path": described.path,
                "rows": described.rows,
                "sha256": described.sha256,
                "state": "open",
                "replayed_by": None,
            }
            connection.execute(insert(Quarantine), [row])
        if receipt.replays:
            connection.execute(
                update(Quarantine)
                .where(Quarantine.receipt_id == receipt.replays)
                .values(state="replayed", replayed_by=receipt.receipt_id)
            )
        return True

    # -- events ------------------------------------------------------------------------------------------------------

    def load_events(
        self, relation: Relation, staged: Path, receipt: BatchReceipt, quarantine: Path | None
    ) -> BatchReceipt:
        """Add the staged rows that are new. Rows already in the lake count as duplicates.

        Files come first, under names of their own; the receipt and the list of files follow in one transaction. If another
        load of the relation committed in between, duplicates are looked for again.
        """
        while True:
            version = self._version(relation)
            files, loaded, staged_rows = self._write_files(relation, staged, receipt, version)
            hit("load.after_files")
            done = replace(
                receipt,
                rows_loaded=loaded,
                rows_duplicate=staged_rows - loaded,
                output_sha256=digest(sorted([f.relation, str(f.event_date), f.sha256] for f in files)),
            )
            with write(self.engine) as connection:
                if not self._bump(connection, relation, version):
                    known = connection.execute(
                        select(Receipt.receipt_id).where(Receipt.receipt_id == receipt.receipt_id)
                    ).first()
                    if known:
                        return done
                    continue
                if self._write_receipt(connection, done, quarantine) and files:
                    connection.execute(
                        insert(LakeFileRow),
                        [{**vars(f), "receipt_id": receipt.receipt_id} for f in files],
                    )
                hit("load.before_commit")
            hit("load.after_commit")
            return done

    def _version(self, relation: Relation) -> int:
        with write(self.engine) as connection:
            insert_new(connection, LoadHead.__table__, [{"relation": relation.name, "version": 0}])
            return int(
                connection.execute(select(LoadHead.version).where(LoadHead.relation == relation.name)).scalar_one()
            )

    def _bump(self, connection: Connection, relation: Relation, version: int) -> bool:
        changed = connection.execute(
            update(LoadHead)
            .where(LoadHead.relation == relation.name, LoadHead.version == version)
            .values(version=version + 1)
        )
        return bool(changed.rowcount)

    def _write_files(
        self, relation: Relation, staged: Path, receipt: BatchReceipt, version: int
    ) -> tuple[list[LakeFile], int, int]:
        arrived = receipt.document.arrived_on
        with DuckEngine(self.settings) as engine:
            columns = ", ".join(quote(name) for name in relation.column_names)
            time = quote(relation.time or "")
            engine.view(
                "staged",
                f"select {columns}, {row_key_sql(relation)} as row_key, cast({time} as date) as event_date, "
                f"date '{arrived}' as arrived_on from read_parquet({literal(str(staged))})",
            )
            staged_rows = int(engine.scalar("select count(*) from staged"))
            self._without_repeats(engine, columns)
            known = self._known_files(relation, engine)
            if known:
                self.lake.open_relation(engine, "known", relation, known)
                engine.table("batch_rows", "select f.* from fresh f anti join known k using (event_date, row_key)")
            else:
                engine.view("batch_rows", "select * from fresh")
            loaded = int(engine.scalar("select count(*) from batch_rows"))
            if not loaded:
                return [], 0, staged_rows
            name = f"{receipt.receipt_id[:16]}-{version}"
            files = self.lake.write(engine, relation, "select * from batch_rows", name, arrived)
            hit("load.between_files")
            if relation.name == "trace_events":
                files += self._write_custody(engine, name, arrived)
        return files, loaded, staged_rows

    @staticmethod
    def _without_repeats(engine: DuckEngine, columns: str) -> None:
        """`fresh`: `staged` with one row per key. Two rows of one key in one batch: the same row survives whatever their order.

        Few batches repeat a key and most are large, so only rows of repeated keys are ordered; the others are not touched.
        """
        engine.table(
            "repeated", "select event_date, row_key from staged group by event_date, row_key having count(*) > 1"
        )
        if not engine.scalar("select count(*) from repeated"):
            engine.view("fresh", "select * from staged")
            return
        engine.table(
            "fresh",
            "select * from staged anti join repeated using (event_date, row_key) union all "
            "select * from (select * from staged semi join repeated using (event_date, row_key)) "
            "qualify row_number() over (partition by event_date, row_key order by "
            f"md5(concat_ws('|', {columns}))) = 1",
        )

    def _known_files(self, relation: Relation, engine: DuckEngine) -> list[str]:
        dates = [row["event_date"] for row in engine.rows("select distinct event_date from fresh")]
        with read(self.engine) as connection:
            statement = select(LakeFileRow.path, LakeFileRow.event_date).where(LakeFileRow.relation == relation.name)
            wanted = set(dates)
            return [path for path, date in connection.execute(statement) if date in wanted]

    def _write_custody(self, engine: DuckEngine, name: str, arrived: dt.date) -> list[LakeFile]:
        written = []
        for step, sql in custody_steps().items():
            columns = ", ".join(quote(column) for column in CUSTODY[step][0])
            engine.table(f"new_{step}", f"select {columns} from ({sql})")
            if engine.scalar(f"select count(*) from new_{step}"):
                rows = f"select {columns} from new_{step}"
                written.append(self.lake.write_derived(engine, step, rows, CUSTODY[step][1], name, arrived))
        return written

    # -- master data -------------------------------------------------------------------------------------------------

    def load_master(
        self, relation: Relation, staged: Path, receipt: BatchReceipt, quarantine: Path | None
    ) -> BatchReceipt:
        """Add rows that say something new. A row that came without `recorded_at` and differs from what is known counts as
        recorded on the night it arrived; the same content again is a duplicate.
        """
        table = MASTER_TABLES[relation.name]
        table_rows = pq.read_table(staged, columns=list(relation.column_names))
        # A register is often a list of what occurs in other rows: the same few rows thousands of times.
        rows = table_rows.group_by(table_rows.column_names, use_threads=False).aggregate([]).to_pylist()
        with write(self.engine) as connection:
            prepared = self._new_versions(connection, relation, rows, receipt)
            added = insert_new(connection, table, prepared)
            done = replace(
                receipt,
                rows_loaded=added,
                rows_duplicate=table_rows.num_rows - added,
                output_sha256=digest(sorted(row["row_digest"] for row in prepared)),
            )
            hit("load.master_before_commit")
            self._write_receipt(connection, done, quarantine)
        return done

    def _new_versions(
        self, connection: Connection, relation: Relation, rows: Iterable[dict[str, Any]], receipt: BatchReceipt
    ) -> list[dict[str, Any]]:
        table = MASTER_TABLES[relation.name]
        content = [name for name in relation.column_names if name != "recorded_at"]
        latest: dict[str, tuple[Any, str]] = {}
        known_digests: set[str] = set()
        columns = [table.c[name] for name in content]
        known = connection.execute(select(table.c.business_key, table.c.recorded_at, table.c.row_digest, *columns))
        for key, recorded, row_digest, *values in known:
            said = digest(dict(zip(content, values, strict=True)))
            known_digests.add(row_digest)
            moment = recorded or dt.datetime.min.replace(tzinfo=dt.UTC)
            if key not in latest or moment >= latest[key][0]:
                latest[key] = (moment, said)
        arrived = dt.datetime.combine(receipt.document.arrived_on, dt.time(), self.settings.zone).astimezone(dt.UTC)
        prepared: dict[str, dict[str, Any]] = {}
        for row in rows:
            key = business_key(relation, row)
            said = content_digest(relation, row)
            recorded_at = row.get("recorded_at")
            if recorded_at is None and key in latest:
                if latest[key][1] == said:
                    continue
                recorded_at = arrived
            row_digest = version_digest(said, recorded_at)
            if row_digest in known_digests:
                continue
            prepared[row_digest] = {
                **row,
                "recorded_at": recorded_at,
                "row_digest": row_digest,
                "business_key": key,
                "source_id": receipt.source_id,
                "receipt_id": receipt.receipt_id,
            }
        return [prepared[name] for name in sorted(prepared)]
