"""The lake: Parquet files by relation and event date. A file counts once the casebook lists it (`lake_file`).

File content is a pure function of the rows in it (sorted, no load time, no batch name), so the same rows give the same
bytes whatever order they came in.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.warehouse.engine import DuckEngine, contract_types, literal, publish, quote


@dataclass(frozen=True)
class LakeFile:
    """One Parquet file. `path` is relative to the lake; `event_date` is null for relations that are not partitioned."""

    path: str
    relation: str
    event_date: dt.date | None
    arrived_on: dt.date
    rows: int
    size: int
    sha256: str


def lake_columns(relation: Relation) -> dict[str, str]:
    """Columns of a relation's lake files: the contract plus what the load adds."""
    return {**contract_types(relation), "row_key": "varchar", "event_date": "date", "arrived_on": "date"}


def row_key_sql(relation: Relation) -> str:
    """SQL of the text that identifies a row for ever, whoever sends it again."""
    columns = relation.key or relation.content_columns
    parts = ", ".join(f"coalesce(cast({quote(column)} as varchar), '')" for column in columns)
    if not relation.key:
        return f"sha256(concat_ws('|', {parts}))"
    joined = f"concat_ws('|', {parts})"
    if "corrects_event_id" in relation:
        # An EPCIS error declaration repeats the identity of the event it withdraws; it must not look like a duplicate.
        return f"{joined} || case when corrects_event_id = event_id then '|withdrawn' else '' end"
    return joined


class Lake:
    """Writes and reads lake files below `root`."""

    def __init__(self, root: Path):
        self.root = root

    def absolute(self, path: str) -> Path:
        return self.root / path

    def write(
        self, engine: DuckEngine, relation: Relation, rows_sql: str, load: str, arrived_on: dt.date
    ) -> list[LakeFile]:
        """Write the rows of `rows_sql` (lake columns) as one file per event date, named after the load.

        `load` names receipt and version: writing again gives the same names and bytes, so a killed load is simply repeated,
        and two processes at the same load do not meet in the work folder.
        """
        work = self.root / "_work" / f"{load}-{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        columns = ", ".join(quote(name) for name in lake_columns(relation))
        # event_date is written twice: as folder for pruning and inside the file, so a file can be read by itself.
        engine.execute(
            f"copy (select {columns}, event_date as partition_date from ({rows_sql}) order by event_date, row_key) "
            f"to {literal(str(work))} (format parquet, compression zstd, partition_by (partition_date), "
            "overwrite_or_ignore, filename_pattern 'part_{i}')"
        )
        written = []
        for folder in sorted(work.iterdir()):
            event_date = dt.date.fromisoformat(folder.name.split("=", 1)[1])
            name = f"{relation.name}/event_date={event_date}/{load}.parquet"
            target = self.absolute(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            parts = sorted(folder.iterdir())
            if len(parts) == 1:
                publish(parts[0], target)
            else:
                listed = ", ".join(literal(str(part)) for part in parts)
                engine.write_parquet(f"select * from read_parquet([{listed}]) order by row_key", target)
            written.append(self.describe(name, relation.name, event_date, arrived_on))
        shutil.rmtree(work)
        return written

    def write_derived(
        self, engine: DuckEngine, relation: str, rows_sql: str, order: str, load: str, arrived_on: dt.date
    ) -> LakeFile:
        """Write one file of a maintained relation (custody) for one batch."""
        name = f"{relation}/{load}.parquet"
        engine.write_parquet(f"select * from ({rows_sql}) order by {order}", self.absolute(name))
        return self.describe(name, relation, None, arrived_on)

    def describe(self, name: str, relation: str, event_date: dt.date | None, arrived_on: dt.date) -> LakeFile:
        """Size, rows and sha256 of a file as it lies on disk."""
        import pyarrow.parquet as pq

        path = self.absolute(name)
        digest = hashlib.sha256()
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
        return LakeFile(
            path=name,
            relation=relation,
            event_date=event_date,
            arrived_on=arrived_on,
            rows=pq.read_metadata(path).num_rows,
            size=path.stat().st_size,
            sha256=digest.hexdigest(),
        )

    def open_relation(self, engine: DuckEngine, name: str, relation: Relation, files: Iterable[str]) -> None:
        """Show lake files of one event relation as the view `name`."""
        paths: Sequence[Path] = [self.absolute(path) for path in sorted(files)]
        engine.files_view(name, lake_columns(relation), paths)


EVENT_RELATIONS = tuple(FEEDS)
