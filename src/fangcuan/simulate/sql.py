"""The sales feed as a table of an ERP, for sources that pull from a database."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

TABLE = "erp_sales"
_NUMBERS = {"quantity": "integer"}


def load_sql(world_dir: Path | str, url: str) -> int:
    """Write the sales feed of a world into the table `erp_sales` at `url`, replacing it; returns the number of rows.

    `id` grows with `recorded_at`, so either serves as a watermark; `arrived_on` is the night a row arrives for.
    `sqlite:///FILE` needs nothing but the standard library; any other URL goes through SQLAlchemy.
    """
    columns, rows = _rows(Path(world_dir))
    kinds = {name: "integer primary key" if name == "id" else _NUMBERS.get(name, "text") for name in columns}
    create = f"create table {TABLE} ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})"
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as plain, plain:
            plain.execute(f"drop table if exists {TABLE}")
            plain.execute(create)
            marks = ", ".join("?" for _ in columns)
            plain.executemany(f"insert into {TABLE} ({', '.join(columns)}) values ({marks})", rows)
        return len(rows)
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"drop table if exists {TABLE}"))
            connection.execute(text(create))
            marks = ", ".join(f":{name}" for name in columns)
            insert = text(f"insert into {TABLE} ({', '.join(columns)}) values ({marks})")
            connection.execute(insert, [dict(zip(columns, row, strict=True)) for row in rows])
    finally:
        engine.dispose()
    return len(rows)


def _rows(world: Path) -> tuple[list[str], list[tuple[object, ...]]]:
    found: list[tuple[str, int, str, dict[str, str]]] = []
    files = sorted((world / "feeds" / "sales").glob("*.csv"))
    if not files:
        raise FileNotFoundError(f"{world}: no sales feed; expected feeds/sales/<arrival date>.csv")
    for path in files:
        with path.open(encoding="utf-8", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle)):
                found.append((row["recorded_at"], number, path.name[:10], row))
    found.sort(key=lambda item: (item[0], item[2], item[1]))
    names = list(found[0][3])
    columns = ["id", "arrived_on", *names]
    rows: list[tuple[object, ...]] = []
    for at, (_, _, night, row) in enumerate(found):
        values = (int(row[name]) if name in _NUMBERS else row[name] or None for name in names)
        rows.append((at + 1, night, *values))
    return columns, rows
