from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS, PRICE_OBSERVATIONS, SALES, TRACE_EVENTS
from fangcuan.core.masters import MASTERS
from fangcuan.ingest.base import Refused
from fangcuan.ingest.mapping import MappedChunk, Mapper, arrow_schema
from fangcuan.ingest.source import FeedSpec

PRICE = {
    "observation_id": "1",
    "observed_at": "2026-03-14T10:05:00+08:00",
    "channel": "online",
    "surface": "list",
    "currency": "CNY",
    "price": "12.50",
}


def chunk(*rows: dict[str, str | None]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def mapped(relation: Relation, *rows: dict[str, str | None], zone: str | None = None, **feed: object) -> MappedChunk:
    return Mapper(relation, FeedSpec(relation=relation.name, **feed), zone).apply(chunk(*rows))


def price(**more: str | None) -> tuple[dict, list[dict]]:
    zone = more.pop("zone", None)
    result = mapped(PRICE_OBSERVATIONS, {**PRICE, **more}, zone=zone)
    (row,) = result.table.to_pylist()
    return row, json.loads(row["_problems"] or "[]")


def test_a_contract_file_maps_itself_to_exactly_the_contract():
    result = mapped(PRICE_OBSERVATIONS, PRICE)
    assert result.table.schema.names == [*PRICE_OBSERVATIONS.column_names, "_position", "_problems"]
    assert result.table.select(list(PRICE_OBSERVATIONS.column_names)).schema == arrow_schema(PRICE_OBSERVATIONS)
    (row,) = result.table.to_pylist()
    assert row["observed_at"] == dt.datetime(2026, 3, 14, 2, 5, tzinfo=dt.UTC)
    assert row["observed_at_offset"] == "+08:00"
    assert row["price"] == Decimal("12.5000")
    assert (row["pack_quantity"], row["tax_included"], row["capture_ok"]) == (1, True, True)
    assert result.issues == ()


@pytest.mark.parametrize("relation", [*FEEDS.values(), *MASTERS.values()], ids=lambda r: r.name)
def test_every_relation_maps_a_header_of_its_own_names(relation):
    result = mapped(relation, dict.fromkeys(relation.column_names))
    assert result.table.num_rows == 1
    assert result.table.select(list(relation.column_names)).schema == arrow_schema(relation)


# -------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12.50", "12.5"), ("-3", "-3"), ("+7", "7"), ("0.0001", "0.0001"), (".5", "0.5"), ("5.", "5"), (" 7 ", "7"),
        ("1.50000000", "1.5"), ("99999999999999.9999", "99999999999999.9999"), ("007", "7"),
    ],
)  # fmt: skip
def test_decimal_text_is_exact(text, value):
    row, problems = price(price=text)
    assert row["price"] == Decimal(value)
    assert problems == []


@pytest.mark.parametrize(
    "text",
    [
        "1,000",
        "１２",
        "1 000",
        "12.34567",
        "1e3",
        "¥5",
        "12.5元",
        "NaN",
        "inf",
        "--1",
        "1.2.3",
        "100000000000000",
        "0x10",
        ".",
    ],
)
def test_numbers_that_are_not_plain_are_problems_not_guesses(text):
    row, problems = price(price=text)
    assert row["price"] is None
    assert problems == [
        {
            "reason": "unparseable",
            "column": "price",
            "value": text,
            "expected": "a number in plain digits, at most 14 before and 4 after the point",
        }
    ]


def test_empty_text_is_null_and_gets_the_default_but_a_bad_value_does_not():
    row, problems = price(pack_quantity="  ", price="")
    assert (row["pack_quantity"], row["price"], problems) == (1, None, [])
    row, problems = price(pack_quantity="one")
    assert row["pack_quantity"] is None
    assert problems[0]["column"] == "pack_quantity"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("1", True),
        ("0", False),
        ("Yes", True),
        ("no", False),
        ("是", True),
        ("否", False),
    ],
)
def test_booleans(text, value):
    assert price(in_stock=text)[0]["in_stock"] is value


@pytest.mark.parametrize("text", ["maybe", "2", "y", "对"])
def test_other_words_are_not_booleans(text):
    row, problems = price(in_stock=text)
    assert row["in_stock"] is None
    assert problems[0]["column"] == "in_stock"


def test_text_with_a_nul_is_a_problem():
    row, problems = price(title="a\0b")
    assert row["title"] is None
    assert problems[0]["column"] == "title"


# ---------------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("text", "moment", "offset"),
    [
        ("2026-03-14T10:05:00+08:00", "2026-03-14T02:05:00", "+08:00"),
        ("2026-03-14 10:05:00+0800", "2026-03-14T02:05:00", "+08:00"),
        ("2026-03-14T10:05+08", "2026-03-14T02:05:00", "+08:00"),
        ("2026-03-14T10:05:00.123456789Z", "2026-03-14T10:05:00.123456", "+00:00"),
        ("2026-03-14T10:05:00,5z", "2026-03-14T10:05:00.500000", "+00:00"),
        ("2026-03-14T10:05:00-03:30", "2026-03-14T13:35:00", "-03:30"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59", "+00:00"),
    ],
)
def test_times_with_a_zone_become_utc_and_keep_their_offset(text, moment, offset):
    row, problems = price(observed_at=text)
    assert row["observed_at"] == dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
    assert (row["observed_at_offset"], problems) == (offset, [])


@pytest.mark.parametrize(
    "text",
    [
        "32 March", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-03-14", "14/03/2026 10:00", "2026-3-4T1:2:3Z",
        "2026-03-14T25:00:00Z", "2026-03-14T10:60:00Z", "1773453900", "2026-03-14T10:05:00", "0001-01-01T00:00:00Z",
        "2026-03-14T10:05:00+99:99", "now", "infinity",
    ],
)  # fmt: skip
def test_times_that_are_not_iso_with_zone_are_problems(text):
    row, problems = price(observed_at=text)
    assert row["observed_at"] is None
    assert problems == [
        {"reason": "unparseable", "column": "observed_at", "value": text, "expected": "ISO 8601 time with zone"}
    ]


@pytest.mark.parametrize(
    ("zone", "local", "moment", "offset"),
    [
        ("Asia/Shanghai", "2026-03-14 10:05:00", "2026-03-14T02:05:00", "+08:00"),
        ("Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59", "+01:00"),
        ("Europe/Berlin", "2026-03-29 02:30:00", None, None),  # skipped
        ("Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29T01:00:00", "+02:00"),
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00", "+02:00"),  # twice: the earlier
        ("Australia/Lord_Howe", "2026-04-05 01:45:00", "2026-04-04T14:45:00", "+11:00"),  # half an hour twice
        ("America/St_Johns", "2026-07-01 00:00", "2026-07-01T02:30:00", "-02:30"),
        ("Asia/Shanghai", "1988-07-01 12:00:00", "1988-07-01T03:00:00", "+09:00"),  # Shanghai had summer time
        ("Europe/Berlin", "2024-02-29 12:00:00", "2024-02-29T11:00:00", "+01:00"),
    ],
)
def test_local_times_in_a_zone_with_summer_time(zone, local, moment, offset):
    row, problems = price(observed_at=local, zone=zone)
    if moment is None:
        assert row["observed_at"] is None
        assert zone in problems[0]["expected"]
    else:
        assert row["observed_at"] == dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
        assert (row["observed_at_offset"], problems) == (offset, [])


def test_the_feeds_zone_wins_over_the_settings():
    result = mapped(
        PRICE_OBSERVATIONS, {**PRICE, "observed_at": "2026-03-14 10:00"}, zone="Asia/Shanghai", timezone="UTC"
    )
    assert result.table.column("observed_at_offset").to_pylist() == ["+00:00"]


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2037, 12, 31)),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_local_times_agree_with_the_zone_database(local, zone):
    import zoneinfo

    info = zoneinfo.ZoneInfo(zone)
    row, _ = price(observed_at=local.isoformat(), zone=zone)
    expected = local.replace(tzinfo=info).astimezone(dt.UTC)
    exists = expected.astimezone(info).replace(tzinfo=None) == local
    assert row["observed_at"] == (expected if exists else None)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-03-14", "2026-03-14"),
        ("2024-02-29", "2024-02-29"),
        ("2026-03-14T00:00:00", "2026-03-14"),
        ("9999-12-31", "9999-12-31"),
    ],
)
def test_dates(text, day):
    row = {"partner_id": "P", "sku": "S", "region_code": "R", "day": text, "flow": "sell_in", "quantity": "1"}
    assert mapped(SALES, row).table.column("day").to_pylist() == [dt.date.fromisoformat(day)]


@pytest.mark.parametrize("text", ["2026-02-29", "2026-03-14T10:00:00", "20260314", "14.03.2026", "2026-3-4", "45000"])
def test_dates_that_are_not_iso_are_problems(text):
    row = {"partner_id": "P", "sku": "S", "region_code": "R", "day": text, "flow": "sell_in", "quantity": "1"}
    (found,) = mapped(SALES, row).table.to_pylist()
    assert found["day"] is None
    assert json.loads(found["_problems"])[0]["column"] == "day"


# ---------------------------------------------------------------------------------------------------- expressions, lookups


def test_expressions_lookups_where_and_issues():
    result = mapped(
        PRICE_OBSERVATIONS,
        {
            "id": "1",
            "seen": "2026/03/14 10:05",
            "p": "12",
            "shop": '{"name":"甲店"}',
            "sku": " a-1 ",
            "x": "1",
            "y": "1",
        },
        {"id": "2", "seen": "2026/03/14 10:05", "p": None, "shop": None, "sku": "B", "x": "1", "y": "1"},
        {"id": "3", "seen": "soon", "p": "13", "shop": None, "sku": "C", "x": "1", "y": "1"},
        where="p is not null",
        map={
            "observation_id": "'o' || id",
            "observed_at": "try_strptime(seen, '%Y/%m/%d %H:%M')",
            "channel": "'online'",
            "surface": "'list'",
            "price": "p",
            "currency": "'CNY'",
            "sku": "sku",
            "shop_name": "shop->>'$.name'",
        },
        timezone="Asia/Shanghai",
        lookups={"sku": {"a-1": "SKU1"}},
        ignore=["x"],
    )
    first, second = result.table.to_pylist()
    assert (first["observation_id"], first["shop_name"], first["sku"]) == ("o1", "甲店", "SKU1")
    assert first["observed_at"] == dt.datetime(2026, 3, 14, 2, 5, tzinfo=dt.UTC)
    assert (second["observation_id"], second["sku"], second["observed_at"]) == ("o3", "C", None)
    assert result.skipped == 1
    assert result.raw.num_rows == 2
    assert [(issue.kind, issue.column) for issue in result.issues] == [("unmapped_column", "y")]


def test_an_issue_is_told_once_per_document():
    mapper = Mapper(PRICE_OBSERVATIONS, FeedSpec(relation="price_observations"), None)
    assert len(mapper.apply(chunk({**PRICE, "y": "1"})).issues) == 1
    assert mapper.apply(chunk({**PRICE, "y": "1"})).issues == ()


def test_an_expression_that_fails_on_some_rows_marks_those_rows_only():
    feed = {name: name for name in PRICE} | {"price": "cast(price as decimal(18,2)) / 2", "title": "upper(title)"}
    rows = [
        {**PRICE, "observation_id": str(n), "price": text, "title": "a"} for n, text in enumerate(["3", "x", "5", None])
    ]
    found = mapped(PRICE_OBSERVATIONS, *rows, map=feed).table.to_pylist()
    assert [row["price"] for row in found] == [Decimal("1.5"), None, Decimal("2.5"), None]
    assert [[p["reason"] for p in json.loads(row["_problems"] or "[]")] for row in found] == [
        [],
        ["mapping_failed"],
        [],
        [],
    ]
    assert {row["title"] for row in found} == {"A"}


def test_an_expression_that_can_never_work_refuses_the_file():
    feed = {name: name for name in PRICE} | {"price": "strptime(price, 5)"}
    with pytest.raises(Refused) as caught:
        mapped(PRICE_OBSERVATIONS, PRICE, map=feed)
    assert (caught.value.reason, caught.value.column) == ("mapping_failed", "price")


def test_an_expression_that_takes_too_long_refuses_the_file(monkeypatch):
    from fangcuan.ingest import sandbox

    monkeypatch.setattr(sandbox, "TIME_LIMIT", 0.05)
    slow = "title"
    for _ in range(15):
        slow = f"sha256({slow})"
    rows = chunk({**PRICE, "title": "a"})
    table = pa.concat_tables([rows] * 1000).combine_chunks()
    table = pa.concat_tables([table] * 400).combine_chunks()
    feed = FeedSpec(relation="price_observations", map={name: name for name in PRICE} | {"title": slow})
    with pytest.raises(Refused, match="took longer"):
        Mapper(PRICE_OBSERVATIONS, feed).apply(table)


def test_expressions_cannot_reach_files_even_if_the_check_were_passed(tmp_path):
    import duckdb

    from fangcuan.ingest.sandbox import query

    (tmp_path / "x.csv").write_text("a\n1\n")
    table = pa.table({"a": ["1"]})
    for sql in (
        f"select * from read_csv('{tmp_path}/x.csv')",
        f"select * from '{tmp_path}/x.csv'",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/out.db'",
        "set enable_external_access = true",
        "install httpfs",
        "select * from table_of_the_caller",
    ):
        with pytest.raises(duckdb.Error):
            query("1GB", {"_raw": table}, sql)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.csv"]


# ------------------------------------------------------------------------------------------------------ missing columns


def test_a_file_without_a_mandatory_column_is_refused():
    row = {name: value for name, value in PRICE.items() if name != "currency"}
    with pytest.raises(Refused) as caught:
        mapped(PRICE_OBSERVATIONS, row)
    assert (caught.value.reason, caught.value.column) == ("missing_column", "currency")
    with pytest.raises(Refused) as caught:
        mapped(PRICE_OBSERVATIONS, row, map={name: name for name in PRICE} | {"currency": "waehrung"})
    assert (caught.value.reason, caught.value.column) == ("missing_column", "waehrung")
    with pytest.raises(Refused) as caught:
        mapped(PRICE_OBSERVATIONS, PRICE, where="deleted = '0'")
    assert caught.value.column == "deleted"


def test_an_optional_column_that_is_absent_is_an_issue():
    feed = {name: name for name in PRICE} | {"title": "titel"}
    result = mapped(PRICE_OBSERVATIONS, PRICE, map=feed)
    assert [(issue.kind, issue.column) for issue in result.issues] == [("absent_column", "titel")]


# ------------------------------------------------------------------------------------------------------------ typed input


def test_typed_parquet_columns_pass_without_rounding_in_silence():
    moment = dt.datetime(2026, 3, 14, 2, 5, tzinfo=dt.UTC)
    table = pa.table(
        {
            "observation_id": pa.array([1, 2], pa.int64()),
            "observed_at": pa.array([moment, moment], pa.timestamp("ns", "Asia/Shanghai")),
            "channel": pa.array(["online"] * 2).dictionary_encode().cast(pa.string()),
            "surface": ["list"] * 2,
            "currency": ["CNY"] * 2,
            "price": pa.array([Decimal("12.345678"), Decimal("3.5")], pa.decimal128(20, 6)),
            "shipping": [12.1, float("nan")],
            "in_stock": [True, None],
        }
    )
    first, second = Mapper(PRICE_OBSERVATIONS, FeedSpec(relation="price_observations")).apply(table).table.to_pylist()
    assert (first["observation_id"], first["observed_at"], first["observed_at_offset"]) == ("1", moment, "+00:00")
    assert first["price"] is None
    assert json.loads(first["_problems"])[0]["column"] == "price"
    assert (first["shipping"], first["in_stock"]) == (Decimal("12.1"), True)
    assert second["price"] == Decimal("3.5")
    assert json.loads(second["_problems"])[0]["column"] == "shipping"


def test_item_role_is_child_inside_a_carton_and_item_otherwise():
    base = {"event_id": "1", "event_time": "2026-03-14T10:05:00Z", "epc": "e", "action": "ADD"}
    rows = [
        {**base, "event_type": "aggregation", "parent_epc": "p"},
        {**base, "event_type": "aggregation", "parent_epc": None},
        {**base, "event_type": "object", "parent_epc": "p"},
        {**base, "event_type": "object", "parent_epc": None, "item_role": "input"},
    ]
    assert mapped(TRACE_EVENTS, *rows).table.column("item_role").to_pylist() == ["child", "item", "item", "input"]
    without = [{k: v for k, v in row.items() if k != "parent_epc"} for row in rows[1:3]]
    assert mapped(TRACE_EVENTS, *without).table.column("item_role").to_pylist() == ["item", "item"]


# -------------------------------------------------------------------------------------------------------------- round trip

ZONES = [dt.UTC, dt.timezone(dt.timedelta(hours=8))]
_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "observation_id": _texts.filter(bool),
                "observed_at": st.datetimes(
                    dt.datetime(1990, 1, 1),
                    dt.datetime(2090, 1, 1),
                    timezones=st.sampled_from(ZONES),
                ),
                "price": st.none() | st.decimals(-(10**13), 10**13, places=4),
                "title": _texts,
                "in_stock": st.none() | st.booleans(),
            }
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_written_as_text_comes_back_as_it_was(rows):
    def text(value):
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        return format(value, "f") if isinstance(value, Decimal) else value.isoformat()

    raw = [{**PRICE, **{name: text(value) for name, value in row.items()}} for row in rows]
    found = mapped(PRICE_OBSERVATIONS, *raw).table.to_pylist()
    for row, back in zip(rows, found, strict=True):
        assert back["_problems"] is None
        assert back["observation_id"] == row["observation_id"].strip()
        assert back["observed_at"] == row["observed_at"]
        assert back["price"] == row["price"]
        assert back["title"] == (row["title"] or None)
        assert back["in_stock"] is row["in_stock"]


def test_an_offset_that_the_source_gives_is_kept_beside_a_time_in_utc():
    event = {"event_id": "e", "event_type": "object", "epc": "c", "event_time": "2013-06-08T14:58:56.591Z"}
    result = mapped(
        TRACE_EVENTS, {**event, "event_time_offset": "+02:00"}, {**event, "event_time_offset": None}, {**event}
    )
    assert [row["event_time_offset"] for row in result.table.to_pylist()] == ["+02:00", "+00:00", "+00:00"]
