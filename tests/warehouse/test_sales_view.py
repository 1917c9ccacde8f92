"""Amended sales documents: the version recorded last is the document."""

from __future__ import annotations

import duckdb
import pytest

from fangcuan.core.feeds import SALES
from fangcuan.warehouse.canonical import event_view

FIRST, SECOND = "2026-03-01 10:00+00", "2026-03-02 10:00+00"


def kept(*lines: tuple[str, str | None, str | None, str | None]) -> list[str]:
    """Names of the lines (name, source, document, recorded) that the view keeps."""
    with duckdb.connect() as connection:
        connection.execute(
            "create table lake_sales (name text, source_id text, document_ref text, recorded_at timestamptz)"
        )
        connection.executemany("insert into lake_sales values (?, ?, ?, ?)", lines)
        return [
            name for (name,) in connection.execute(f"select name from ({event_view(SALES)}) order by name").fetchall()
        ]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([("a", "erp", None, None), ("b", "erp", None, FIRST)], ["a", "b"]),
        ([("a", "erp", "D1", None), ("b", "erp", "D1", None)], ["a", "b"]),
        ([("a", "erp", "D1", FIRST), ("b", "erp", "D1", FIRST), ("c", "erp", "D1", SECOND)], ["c"]),
        ([("a", "erp", "D1", None), ("b", "erp", "D1", FIRST)], ["b"]),
        ([("a", "erp", "D1", FIRST), ("b", "pos", "D1", SECOND)], ["a", "b"]),
        ([("a", None, "D1", FIRST), ("b", None, "D1", SECOND)], ["b"]),
    ],
    ids=["without-document", "never-recorded", "amended", "recorded-after-all", "other-source", "no-source"],
)
def test_the_version_recorded_last_is_the_document(lines, names):
    assert kept(*lines) == names
