from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import os
import time
import tracemalloc
import zipfile

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from fangcuan.ingest import connectors
from fangcuan.ingest.base import Refused, SourceUnavailable
from fangcuan.ingest.connectors import default_reader, merged_state
from fangcuan.ingest.connectors.files import FilesOptions

CSV = "id,name\n1,甲\n2,乙\n"


def parquet_bytes(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def excel_bytes(rows: list[list[object]], title: str = "Prices", **formats: str) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = title
    for row in rows:
        sheet.append(row)
    for cell, number_format in formats.items():
        sheet[cell].number_format = number_format
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


# ----------------------------------------------------------------------------------------------------------- which files


def test_files_arrive_by_the_date_in_their_name_and_never_early(tmp_path, fetch):
    for name in (
        "2026-03-19.csv",
        "2026-03-20-late.csv",
        "2026-03-20.csv",
        "2026-03-21.csv",
        "notes.csv",
        "2026-13-45.csv",
    ):
        (tmp_path / name).write_text(CSV)
    documents = fetch("files", {"path": "{night:%Y-%m-%d}*.csv"})
    assert [(d.name, str(d.arrived_on)) for d in documents] == [
        ("2026-03-19.csv", "2026-03-19"),
        ("2026-03-20-late.csv", "2026-03-20"),
        ("2026-03-20.csv", "2026-03-20"),
    ]


def test_a_loaded_file_is_not_fetched_again_until_it_changes(tmp_path, fetch):
    (tmp_path / "2026-03-19.csv").write_text(CSV)
    (tmp_path / "2026-03-20.csv").write_text(CSV + "3,丙\n")
    state: dict = {}
    for document in fetch("files", {"path": "{night}.csv"}):
        state = merged_state(state, document.watermark)
    assert len(state["seen"]) == 2
    assert fetch("files", {"path": "{night}.csv"}, state=state) == []
    (tmp_path / "2026-03-19.csv").write_text(CSV + "4,丁\n")
    assert [d.name for d in fetch("files", {"path": "{night}.csv"}, state=state)] == ["2026-03-19.csv"]


def test_dates_in_folders_and_other_formats(tmp_path, fetch):
    folder = tmp_path / "in" / "20260318" / "shop-1"
    folder.mkdir(parents=True)
    (folder / "prices_20260318.csv").write_text(CSV)
    (folder / "prices_20260317.csv").write_text(CSV)
    (document,) = fetch("files", {"path": "in/{night:%Y%m%d}/*/prices_{night:%Y%m%d}.csv"})
    assert (document.name, document.arrived_on) == ("20260318/shop-1/prices_20260318.csv", dt.date(2026, 3, 18))


def test_arrival_night_takes_only_that_nights_files(tmp_path, fetch):
    for name in ("2026-03-19.csv", "2026-03-20.csv"):
        (tmp_path / name).write_text(CSV)
    (document,) = fetch("files", {"path": "{night:%Y-%m-%d}.csv", "arrival": "night"})
    assert document.name == "2026-03-20.csv"


def test_what_is_not_there_is_unavailable_and_an_empty_folder_is_not(tmp_path, fetch):
    with pytest.raises(SourceUnavailable, match="no such file"):
        fetch("files", {"path": "none.csv"})
    with pytest.raises(SourceUnavailable, match="no such folder"):
        fetch("files", {"path": "none/*.csv"})
    (tmp_path / "empty").mkdir()
    assert fetch("files", {"path": "empty/*.csv"}) == []


def test_a_file_still_being_written_waits(tmp_path, fetch):
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    assert fetch("files", {"path": "*.csv", "settle_seconds": 60}) == []
    old = time.time() - 120
    os.utime(path, (old, old))
    assert len(fetch("files", {"path": "*.csv", "settle_seconds": 60})) == 1


def test_any_fsspec_url_can_be_read(fetch, rows):
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/inbox/2026-03-20.csv", CSV.encode())
    options = {"path": "memory://inbox/{night}.csv"}
    (document,) = fetch("files", options)
    assert [row["name"] for row in rows("files", document, options)] == ["甲", "乙"]


def test_a_file_over_the_limit_is_not_copied_whole(tmp_path, fetch, rows):
    (tmp_path / "a.csv").write_text(CSV * 1000)
    options = {"path": "a.csv", "max_bytes": 1000}
    (document,) = fetch("files", options)
    assert document.size == 1001
    with pytest.raises(Refused) as caught:
        rows("files", document, options)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    "options",
    [
        {"path": ""},
        {"path": "{night:%H}.csv"},
        {"path": "{night:%Y}/{night:%m}.csv"},
        {"path": "a.csv", "arrival": "from_name"},
        {"path": "a.csv", "delimiter": ";;"},
        {"path": "a.csv", "unknown": 1},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ValidationError):
        FilesOptions.model_validate(options)


# ------------------------------------------------------------------------------------------------------------------- CSV


def test_csv_values_stay_text_exactly(read_file):
    text = 'code,price,note\n007,12.50,"a ""quoted"", value\non two lines"\n,1e3,\n'
    assert read_file("a.csv", text) == [
        {
            "code": "007",
            "price": "12.50",
            "note": 'a "quoted", value\non two lines',
            "_position": "row 2",
            "_problems": None,
        },
        {"code": None, "price": "1e3", "note": None, "_position": "row 3", "_problems": None},
    ]


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 100])
def test_csv_rows_with_wrong_field_counts_keep_their_place_whatever_the_chunks(read_file, chunk_rows):
    found = read_file("a.csv", "x,y\n1,1\n2\n3,3\n4,4,4\n5,5\n6\n", chunk_rows=chunk_rows)
    assert sorted(row["_position"] for row in found) == [f"row {n}" for n in range(2, 8)]
    good = {row["_position"]: row["x"] for row in found if row["_problems"] is None}
    assert good == {"row 2": "1", "row 4": "3", "row 6": "5"}
    bad = {row["_position"]: json.loads(row["_problems"])[0] for row in found if row["_problems"]}
    assert bad["row 5"] == {
        "reason": "wrong_number_of_fields", "column": None, "value": "4,4,4", "expected": "2 fields, found 3",
    }  # fmt: skip
    assert set(bad) == {"row 3", "row 5", "row 7"}


@pytest.mark.parametrize(
    ("encoding", "codec"), [("utf-8", "utf-8-sig"), ("gb18030", "gb18030"), ("big5", "big5"), ("utf-16", "utf-16")]
)
def test_csv_encodings(read_file, encoding, codec):
    found = read_file("a.csv", "代號,名稱\n1,經銷商\n".encode(codec), encoding=encoding)
    assert found[0]["名稱"] == "經銷商"


def test_delimiters_and_compression(read_file):
    assert read_file("a.tsv", "x\ty\n1\t2\n")[0]["y"] == "2"
    assert read_file("b.csv", "x;y\n1;2\n", delimiter=";")[0]["y"] == "2"
    assert read_file("c.csv.gz", gzip.compress(b"x,y\n1,2\n"))[0]["y"] == "2"


def test_a_header_without_rows_gives_an_empty_chunk_that_names_its_columns(tmp_path, fetch):
    (tmp_path / "a.csv").write_text("x,y\n")
    (document,) = fetch("files", {"path": "a.csv"})
    (chunk,) = default_reader(document)
    assert chunk.table.num_rows == 0
    assert chunk.table.column_names[:2] == ["x", "y"]


def test_csv_memory_stays_bounded(tmp_path, fetch):
    (tmp_path / "a.csv").write_text("x,y\n" + "1234567890,abcdefghijklmnopqrstuvwxyz\n" * 1_000_000)
    (document,) = fetch("files", {"path": "a.csv"})
    connector = connectors.get("files")
    before = pa.total_allocated_bytes()
    highest = count = 0
    for chunk in connector.read(document, FilesOptions(path="a.csv"), 50_000):
        count += chunk.table.num_rows
        assert chunk.table.num_rows <= 50_000
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert count == 1_000_000
    assert highest < 60_000_000


# ------------------------------------------------------------------------------------------------- whole files refused


def test_wrong_encoding_names_line_and_byte(refusal):
    error = refusal("a.csv", "id,name\n1,a\n2,甲\n".encode("gb18030"))
    assert (error.reason, error.position) == ("wrong_encoding", "line 3, byte 14")
    error = refusal("b.csv", "id,name\n1,\xff\n".encode("latin-1"), encoding="gb18030")
    assert error.reason == "wrong_encoding"
    assert refusal("c.jsonl", '{"a":"甲"}\n'.encode("gb18030")).position.startswith("line 1")
    assert refusal("d.csv", "id,name\n1,甲\n".encode("utf-16")).reason == "wrong_encoding"


def test_wrong_encoding_far_into_a_large_file_is_found(refusal):
    content = b"id,name\n" + b"1,abcdefghij\n" * 900_000 + b"2,\xff\xfe\n"
    error = refusal("a.csv", content)
    assert (error.reason, error.position) == ("wrong_encoding", f"line 900002, byte {len(content) - 3}")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_truncated_and_damaged_gzip(refusal, name):
    whole = gzip.compress(
        b'{"a":1}\n' * 50_000 if "json" in name else b"x,y\n" + os.urandom(40_000).hex().encode() + b",1\n"
    )
    assert refusal(name, whole[: len(whole) // 2]).reason == "truncated"
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 0xFF
    assert refusal(name, bytes(damaged)).reason in ("unreadable", "wrong_encoding", "truncated")
    assert refusal(name, b"not gzip at all").reason == "unreadable"


def test_truncated_and_damaged_parquet(refusal):
    whole = parquet_bytes(pa.table({"x": list(range(1000))}))
    for size in (0, 3, 100, len(whole) - 1):
        assert refusal("a.parquet", whole[:size]).reason == "truncated"
    assert refusal("a.parquet", b"PAR1" + b"\0" * 500 + b"PAR1").reason in ("unreadable", "truncated")


def test_a_csv_cut_inside_a_quoted_value(refusal, read_file):
    assert refusal("a.csv", 'x,y\n1,"abc').reason == "truncated"
    assert refusal("b.csv", 'x,y\n1,"abc\n2,3\n4,5\n').reason == "truncated"
    # An inch mark is not a cut file.
    assert read_file("c.csv", 'x,y\n1,24" screen\n2,b\n')[0]["y"] == '24" screen'


def test_json_lines_that_are_not_objects(refusal):
    assert refusal("a.jsonl", '{"a":1}\n{"a":').reason == "truncated"
    error = refusal("b.jsonl", '{"a":1}\n{"a":}\n{"a":2}\n')
    assert (error.reason, error.position) == ("unreadable", "line 2")
    assert refusal("c.jsonl", "[1,2]\n").reason == "unreadable"
    assert refusal("d.jsonl", '{"a":NaN}\n').reason == "unreadable"
    assert refusal("e.jsonl", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}\n").reason == "unreadable"


def test_headers_that_cannot_be_used(refusal):
    assert refusal("a.csv", "").reason == "empty"
    assert refusal("b.csv", "\n\n").reason == "empty"
    error = refusal("c.csv", "sku,SKU\n1,2\n")
    assert (error.reason, error.column) == ("duplicate_column", "SKU")
    assert refusal("d.csv", "_position,a\n1,2\n").reason == "reserved_column"
    assert refusal("e.bin", "x").reason == "unknown_format"


def test_a_gzip_bomb_is_refused_without_unpacking_it(tmp_path, fetch, rows):
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=9) as out:
        out.write(b"x,y\n")
        for _ in range(600):
            out.write(b"1,2\n" * 262_144)
    (tmp_path / "a.csv.gz").write_bytes(bomb.getvalue())
    assert len(bomb.getvalue()) < 4_000_000
    (document,) = fetch("files", {"path": "a.csv.gz"})
    connector = connectors.get("files")
    with pytest.raises(Refused) as caught:
        for _ in connector.read(document, FilesOptions(path="a.csv.gz", max_expanded_bytes=20_000_000), 100_000):
            pass
    assert caught.value.reason == "too_large"


def test_the_shrinking_ratio_alone_gives_a_bomb_away(tmp_path, fetch, monkeypatch):
    from fangcuan.ingest.connectors import _bounded

    monkeypatch.setattr(_bounded, "RATIO_FLOOR", 1_000_000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a":"1"}\n' * 500_000, 9))
    (document,) = fetch("files", {"path": "a.jsonl.gz"})
    with pytest.raises(Refused) as caught:
        list(default_reader(document))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_endless_line_is_refused_without_reading_all_of_it(tmp_path, fetch, name):
    path = tmp_path / name
    with path.open("wb") as out:
        out.write(b"x,y\n1,2\n" if name == "a.csv" else b'{"a":1}\n{"a":"')
        out.seek(10_000_000_000 - 1, os.SEEK_CUR)  # ten gigabytes on paper, nothing on disk
        out.write(b"x")
    options = FilesOptions(path=name, max_bytes=1 << 40, max_line_bytes=1 << 20)
    document = connectors.get("files")
    from fangcuan.ingest.base import RawDocument

    staged = RawDocument("s", name, path, "0" * 64, path.stat().st_size, dt.date(2026, 3, 20))
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(Refused) as caught:
        list(document.read(staged, options, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason in ("line_too_long", "wrong_encoding")
    assert time.monotonic() - started < 20
    assert peak < 50_000_000


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_long_line_of_text_is_refused(refusal, name):
    text = "x,y\n1," + "x" * 9_000_000 if name == "a.csv" else '{"a":"' + "x" * 9_000_000 + '"}'
    assert refusal(name, text + "\n", max_line_bytes=1 << 20).reason == "line_too_long"


# ---------------------------------------------------------------------------------------------- JSON lines, Parquet, Excel


def test_json_numbers_stay_as_written(read_file):
    text = '{"a":12.50,"b":123456789012345678901234567890,"c":1.5e-3,"d":true,"e":[1.0,{"f":2.10}],"g":"x","h":null}\n\n{"a":1}\n'
    assert read_file("a.jsonl", text) == [
        {
            "a": "12.50",
            "b": "123456789012345678901234567890",
            "c": "0.0015",
            "d": "true",
            "e": '[1.0,{"f":2.10}]',
            "g": "x",
            "h": None,
            "_position": "line 1",
        },
        {"a": "1", **dict.fromkeys("bcdegh"), "_position": "line 3"},
    ]


def test_parquet_keeps_types_and_unpacks_what_mapping_cannot_take(read_file):
    moment = dt.datetime(2026, 3, 14, 2, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "t": pa.array([moment], pa.timestamp("us", "UTC")),
            "d": pa.array(["x"]).dictionary_encode(),
            "l": pa.array([[1, 2]]),
            "n": pa.nulls(1),
        }
    )
    (row,) = read_file("a.parquet", parquet_bytes(table))
    assert (row["t"], row["d"], row["l"], row["n"], row["_position"]) == (moment, "x", "[1, 2]", None, "row 1")


def test_excel_dates_numbers_and_errors(read_file):
    content = excel_bytes(
        [
            ["day", "seen", "price", "count", "flag", "note", None],
            [dt.datetime(2024, 2, 29), dt.datetime(2026, 3, 14, 0, 0), 12.5, 24.0, True, "甲", None],
            [None, dt.datetime(2026, 3, 14, 10, 5, 30), 0.1 + 0.2, 1e-05, False, "#N/A", None],
            [None] * 7,
            [dt.date(2026, 3, 15), None, 3, 2, None, "b", "stray"],
        ],
        A2="yyyy-mm-dd",
        B2="yyyy-mm-dd hh:mm",
        B3="yyyy-mm-dd hh:mm:ss",
        F3="General",
    )
    found = read_file("a.xlsx", content)
    assert [row["_position"] for row in found] == ["sheet Prices row 2", "sheet Prices row 3", "sheet Prices row 5"]
    assert (found[0]["day"], found[0]["seen"], found[0]["price"], found[0]["count"], found[0]["flag"]) == (
        "2024-02-29", "2026-03-14T00:00:00", "12.5", "24", "true",
    )  # fmt: skip
    assert (found[1]["seen"], found[1]["price"], found[1]["count"]) == ("2026-03-14T10:05:30", "0.3", "0.00001")
    assert json.loads(found[1]["_problems"])[0]["reason"] == "spreadsheet_error"
    assert json.loads(found[2]["_problems"])[0]["reason"] == "wrong_number_of_fields"


def test_excel_sheets_and_header_rows(read_file, refusal):
    book = openpyxl.Workbook()
    book.active.title = "Cover"
    sheet = book.create_sheet("数据")
    for row in (["report of March"], ["sku", "price"], ["A", 1]):
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    assert read_file("a.xlsx", out.getvalue(), sheet="数据", header_row=2)[0]["sku"] == "A"
    assert read_file("a.xlsx", out.getvalue(), sheet=2, header_row=2)[0]["price"] == "1"
    assert refusal("a.xlsx", out.getvalue(), sheet="none").reason == "missing_sheet"
    assert refusal("a.xlsx", out.getvalue()).reason == "empty"


def test_damaged_workbooks_and_archive_bombs(refusal):
    whole = excel_bytes([["a"], [1]])
    assert refusal("a.xlsx", whole[:-50]).reason == "truncated"
    assert refusal("a.xlsx", b"PK not a zip").reason == "truncated"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 30_000_000)
    assert refusal("a.xlsx", out.getvalue(), max_expanded_bytes=10_000_000).reason == "too_large"
    assert refusal("a.xlsx", out.getvalue()).reason == "unreadable"


def test_every_connector_is_found_by_its_module_name():
    assert {"files", "http", "sql"} <= set(connectors.kinds())
    for kind in connectors.kinds():
        assert connectors.get(kind).kind == kind
    with pytest.raises(KeyError):
        connectors.get("ftp")
