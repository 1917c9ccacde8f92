"""Raw rows of one night from lake and casebook, as far as they had arrived and were recorded by then."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Engine, Row, select

from fangcuan.content.units import Rule
from fangcuan.core.canonical import decimal_text
from fangcuan.core.contract import DUCKDB_TYPES, Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import MASTERS
from fangcuan.settings import Settings
from fangcuan.store.catalogue import LakeFileRow, Run, UnitResult
from fangcuan.store.database import read
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, files_sql, literal, quote
from fangcuan.warehouse.lake import Lake, lake_columns

_ARROW = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.string(),
    "rate": pa.string(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
}


class CatalogueRows:
    """Relation source over lake and casebook for one night.

    Event files older than `history_days` before the night are left out unless they arrived after `since`; custody and master data
    are never cut. Feeds of at most `keep_rows` rows are held in memory, for whoever runs many units on one engine.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        night: dt.date,
        unit_digests: Mapping[str, str],
        history_days: int = 400,
        keep_rows: int = 0,
    ):
        self._settings = settings
        self._engine = engine
        self._night = night
        self._digests = unit_digests
        self._horizon = night - dt.timedelta(days=history_days)
        self._lake = Lake(settings.lake_path)
        self._files: dict[str, list[str]] | None = None
        self._rows: Counter[str] = Counter()
        self._keep_rows = keep_rows

    def _listed(self) -> dict[str, list[str]]:
        if self._files is None:
            found: dict[str, list[str]] = defaultdict(list)
            statement = select(LakeFileRow.relation, LakeFileRow.path, LakeFileRow.rows).where(
                LakeFileRow.arrived_on <= self._night,
                LakeFileRow.event_date.is_(None)
                | (LakeFileRow.event_date >= self._horizon)
                | (LakeFileRow.arrived_on > self._horizon),
            )
            with read(self._engine) as connection:
                for relation, path, rows in connection.execute(statement):
                    found[relation].append(path)
                    self._rows[relation] += rows
            self._files = dict(found)
        return self._files

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        if name in MASTERS:
            self._open_master(engine, MASTERS[name])
            return
        raw, columns = (
            (f"lake_{name}", lake_columns(FEEDS[name])) if name in FEEDS else (f"steps_{name}", CUSTODY[name][0])
        )
        paths = [self._lake.absolute(path) for path in sorted(self._listed().get(name, []))]  # counts the rows as well
        if 0 < self._rows.get(name, 0) <= self._keep_rows:
            # Many units read the same few rows out of many small files: reading them once is cheaper than once per unit.
            engine.hold(raw, paths, lambda some: files_sql(columns, some))
        else:
            engine.forget(raw)
            engine.files_view(raw, columns, paths)

    def _open_master(self, engine: DuckEngine, relation: Relation) -> None:
        names = [*relation.column_names, "business_key", "row_digest"]
        kinds = {column.name: column.kind for column in relation.columns}
        if "recorded_at" not in kinds:
            names.append("recorded_at")
            kinds["recorded_at"] = "timestamp"
        rows = self._recorded(relation, names)
        arrays = {}
        for position, name in enumerate(names):
            kind = kinds.get(name, "text")
            values = [row[position] for row in rows]
            if kind in ("decimal", "rate"):
                values = [None if value is None else decimal_text(value) for value in values]
            arrays[name] = pa.array(values, _ARROW[kind])
        engine.register(f"casebook_{relation.name}", pa.table(arrays))
        typed = ", ".join(f"cast({quote(n)} as {DUCKDB_TYPES[kinds.get(n, 'text')]}) as {quote(n)}" for n in names)
        engine.table(f"recorded_{relation.name}", f"select {typed} from casebook_{relation.name}")

    def _recorded(self, relation: Relation, names: Sequence[str]) -> Sequence[Row[Any]]:
        table = MASTER_TABLES[relation.name]
        with read(self._engine) as connection:
            return connection.execute(select(*(table.c[name] for name in names))).all()

    def fact_runs(self, unit_id: str) -> list[tuple[dt.date, Path, int]]:
        """Nights, files and rows a fact has written with its present digest, up to and including this night."""
        statement = (
            select(Run.night, UnitResult.path, UnitResult.rows)
            .join(UnitResult, UnitResult.run_id == Run.run_id)
            .where(
                UnitResult.unit_id == unit_id,
                UnitResult.unit_digest == self._digests[unit_id],
                UnitResult.state == "done",
                Run.night <= self._night,
            )
            .order_by(Run.night)
        )
        with read(self._engine) as connection:
            return [(night, self._lake.absolute(path), n) for night, path, n in connection.execute(statement) if path]

    def open_fact(self, engine: DuckEngine, rule: Rule) -> None:
        runs = self.fact_runs(rule.id)
        if not runs:
            raise LookupError(f"{rule.id} has not run for {self._night}; facts run before the units that read them")
        raw, nights = f"rows_{rule.relation}", {path: night for night, path, _ in runs}
        if sum(rows for _, _, rows in runs) <= self._keep_rows:
            engine.hold(raw, list(nights), lambda some: union_of_nights([(nights[path], path) for path in some]))
        else:
            engine.forget(raw)
            engine.view(raw, union_of_nights([(night, path) for path, night in nights.items()]))


def union_of_nights(runs: Sequence[tuple[dt.date, Path]]) -> str:
    """SQL over the files of a fact, one per night, with `fact_night`."""
    listed = ", ".join(literal(str(path)) for _, path in runs)
    nights = ", ".join(f"({literal(str(path))}, date '{night}')" for night, path in runs)
    return (
        f"select f.* exclude (filename), n.night as fact_night from read_parquet([{listed}], filename = true) f "
        f"join (values {nights}) n (path, night) on n.path = f.filename"
    )
