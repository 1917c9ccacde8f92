"""The engine that a process keeps from night to night: what a name stands for may change between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fangcuan.settings import Settings
from fangcuan.warehouse.engine import DuckEngine, files_sql

COLUMNS = {"x": "BIGINT"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckEngine]:
    with DuckEngine(Settings(home=tmp_path)) as made:
        yield made


def written(path: Path, *values: int) -> Path:
    pq.write_table(pa.table({"x": pa.array(values, pa.int64())}), path)
    return path


def found(engine: DuckEngine, name: str = "steps") -> list[int]:
    return [row["x"] for row in engine.rows(f"select x from {name} order by x")]


def read_files(some: Sequence[Path]) -> str:
    return files_sql(COLUMNS, some)


def test_what_had_no_rows_last_night_has_some_now(engine: DuckEngine, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.parquet", 1), written(tmp_path / "b.parquet", 2)
    for _ in range(2):
        # A night without a file, two with few rows, one with many again.
        engine.forget("steps")
        engine.files_view("steps", COLUMNS, [])
        assert found(engine) == []
        engine.hold("steps", [first], read_files)
        assert found(engine) == [1]
        engine.hold("steps", [first, second], read_files)
        assert found(engine) == [1, 2]
        engine.hold("steps", [second], read_files)
        assert found(engine) == [2]
        engine.forget("steps")
        engine.files_view("steps", COLUMNS, [first])
        assert found(engine) == [1]


def test_a_shared_view_may_be_kept_or_not(engine: DuckEngine) -> None:
    for _ in range(2):
        engine.view("shared", "select 1 as x")
        assert found(engine, "shared") == [1]
        engine.table("shared", "select 2 as x")
        assert found(engine, "shared") == [2]
        engine.numbered_table("shared", "n", "select 3 as x")
        assert found(engine, "shared") == [3]
