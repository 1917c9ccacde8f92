from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from fangcuan.ingest.base import SourceUnavailable
from fangcuan.ingest.connectors import merged_state
from fangcuan.ingest.connectors.sql import SqlOptions


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request, tmp_path: Path, postgres_url: str) -> Iterator[sa.URL]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield sa.engine.make_url(f"sqlite:///{tmp_path / 'source.db'}")
        return
    name = f"fangcuan_ingest_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    try:
        yield sa.engine.make_url(postgres_url).set(database=name)
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"drop database {name} with (force)"))
        admin.dispose()


@pytest.fixture
def execute(database: sa.URL):
    engine = sa.create_engine(database)

    def run(*statements: str, **values: object) -> None:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), values or None)

    yield run
    engine.dispose()


def options(database: sa.URL, **more: object) -> dict:
    return {"url": database.render_as_string(hide_password=False), **more}


def test_types_are_kept_exactly(database, execute, fetch, rows):
    execute(
        """create table lines (id integer primary key, price decimal(18,4), ratio double precision, seen timestamp,
           day date, note text, flag boolean, "Mixed Case" text)"""
    )
    execute(
        "insert into lines values (1, 12345678901234.5678, 0.1, '2024-02-29 23:59:59.123456', '2024-02-29', :note, true, 'x')",
        note='甲 "quoted"\nline',
    )
    execute("insert into lines (id) values (2)")
    query = "select * from lines order by id"
    if database.get_backend_name() == "sqlite":
        # SQLite itself keeps decimals as floats; as text they are exact there too.
        execute(
            "update lines set price = '12345678901234.5678x'", "update lines set price = replace(price, 'x', '') || ''"
        )
        query = "select id, '12345678901234.5678' as price, ratio, seen, day, note, flag, \"Mixed Case\" from lines order by id"
    wanted = options(database, query=query)
    (document,) = fetch("sql", wanted)
    first, second = rows("sql", document, wanted)
    assert (first["id"], first["price"], first["ratio"]) == ("1", "12345678901234.5678", "0.1")
    assert first["seen"].replace("T", " ") == "2024-02-29 23:59:59.123456"
    assert (first["day"], first["note"], first["Mixed Case"]) == ("2024-02-29", '甲 "quoted"\nline', "x")
    assert first["flag"] in ("true", "1")
    assert first["_position"] == "line 1"
    if database.get_backend_name() == "postgresql":
        assert second["price"] is None
    assert (second["id"], second["note"]) == ("2", None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", ["1", "2", "2", "3", "10"]),
        ("timestamp", [f"'2026-03-{day:02d} 10:00:00.5'" for day in (1, 2, 2, 3, 10)]),
        ("date", [f"'2026-03-{day:02d}'" for day in (1, 2, 2, 3, 10)]),
        ("varchar(20)", [f"'k{n:02d}'" for n in (1, 2, 2, 3, 10)]),
        ("numeric(20,4)", ["1.5", "2.5", "2.5", "3.5", "10.5"]),
    ],
)
@pytest.mark.parametrize("as_query", [False, True])
def test_reading_goes_on_from_the_watermark_and_ties_come_again(database, execute, fetch, rows, kind, values, as_query):
    execute(f"create table lines (id integer, changed {kind})")
    origin = {"query": "select id, changed from lines where id > 0"} if as_query else {"table": "lines"}
    wanted = options(database, watermark="changed", **origin)

    def read(state: dict) -> tuple[list[str], dict]:
        found: list[str] = []
        for document in fetch("sql", wanted, state=state):
            found += [row["id"] for row in rows("sql", document, wanted)]
            state = merged_state(state, json.loads(json.dumps(document.watermark)))
        return found, state

    assert fetch("sql", wanted) == []
    execute(*(f"insert into lines values ({n}, {values[n - 1]})" for n in (1, 2)))
    found, state = read({})
    assert found == ["1", "2"]
    # A row with the very same watermark, written after we read it, is not lost.
    execute(f"insert into lines values (3, {values[2]})", f"insert into lines values (4, {values[3]})")
    found, state = read(state)
    assert sorted(found) == ["2", "3", "4"]
    execute(f"insert into lines values (5, {values[4]})")
    found, state = read(state)
    assert sorted(found) == ["4", "5"]
    found, state = read(state)
    assert found == ["5"]


def test_start_and_parts(database, execute, fetch, rows):
    execute("create table lines (id integer)", *(f"insert into lines values ({n})" for n in range(1, 26)))
    wanted = options(database, table="lines", watermark="id", start="6", part_rows=8, fetch_rows=3)
    documents = fetch("sql", wanted)
    assert [len(rows("sql", document, wanted)) for document in documents] == [8, 8, 4]
    assert [document.watermark["watermark"]["value"] for document in documents] == ["13", "21", "25"]
    assert len({document.name for document in documents}) == 3


def test_a_source_cannot_be_written_to(database, execute, fetch):
    """Whatever the query does, the connection is read-only."""
    execute("create table lines (id integer)", "insert into lines values (1)")
    fetch("sql", options(database, table="lines"))
    if database.get_backend_name() == "postgresql":
        execute("create function grow() returns integer language sql as 'insert into lines values (2) returning id'")
        with pytest.raises(SourceUnavailable, match="read-only"):
            fetch("sql", options(database, query="select grow()"))


def test_what_cannot_be_asked_is_unavailable(database, execute, fetch):
    with pytest.raises(SourceUnavailable, match="nothing"):
        fetch("sql", options(database, table="nothing"))
    execute("create table lines (id integer)", "insert into lines values (1)")
    with pytest.raises(SourceUnavailable):
        fetch("sql", options(database, table="lines", watermark="none"))


@pytest.mark.postgres
def test_a_server_that_is_down_or_slow_is_unavailable_and_the_password_stays_secret(postgres_url, fetch):
    down = sa.engine.make_url(postgres_url).set(port=1, username="reader").render_as_string(hide_password=False)
    with pytest.raises(SourceUnavailable) as caught:
        fetch("sql", {"url": down, "table": "x", "secret": "db"}, secrets=lambda name: "hunter2-very-secret")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SourceUnavailable, match="statement timeout"):
        fetch("sql", {"url": postgres_url, "query": "select pg_sleep(30)", "statement_timeout_seconds": 1})


@pytest.mark.postgres
def test_postgres_types_beyond_the_common(postgres_url, fetch, rows):
    query = """select 1.10::numeric as n, 1e-7::float8 as f, 'nan'::float8 as nan, '2026-03-14 10:00+08'::timestamptz as t,
               '{"a": [1.0]}'::jsonb as j, '\\x00ff'::bytea as b, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as u,
               interval '1 day' as i, ' :name 100%' as colon, array[1,2] as l, time '10:05' as c"""
    wanted = {"url": postgres_url, "query": query}
    (document,) = fetch("sql", wanted)
    (row,) = rows("sql", document, wanted)
    assert (row["n"], row["f"], row["nan"], row["b"]) == ("1.10", "0.0000001", "nan", "AP8=")
    assert dt.datetime.fromisoformat(row["t"]) == dt.datetime(2026, 3, 14, 2, tzinfo=dt.UTC)
    assert json.loads(row["j"]) == {"a": [1.0]}
    assert row["colon"] == " :name 100%"
    assert (row["u"], row["l"], row["c"]) == ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "[1, 2]", "10:05:00")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "nonsense"},
        {"url": "postgresql+psycopg://u:password@h/d", "table": "t"},
        {"url": "sqlite:///x.db"},
        {"url": "sqlite:///x.db", "table": "t", "query": "select 1"},
        {"url": "sqlite:///x.db", "table": "t", "start": "1"},
        {"url": "sqlite:///x.db", "query": "delete from t"},
        {"url": "sqlite:///x.db", "query": "select 1; drop table t"},
        {"url": "sqlite:///x.db", "query": "pragma writable_schema = on"},
        {"url": "postgresql+psycopg://h/d", "query": "with x as (delete from t returning *) select * from x"},
        {"url": "postgresql+psycopg://h/d", "query": "copy t to program 'true'"},
        {"url": "postgresql+psycopg://h/d", "query": "select * into u from t"},
    ],
)
def test_options_that_cannot_work_or_would_write_are_refused(wrong):
    with pytest.raises(ValidationError) as caught:
        SqlOptions.model_validate(wrong)
    assert "password@" not in str(caught.value.errors(include_input=False))


def test_a_missing_secret_is_unavailable(fetch):
    from fangcuan.ingest import secrets

    with pytest.raises(SourceUnavailable, match="FANGCUAN_SECRET_NOT_THERE"):
        fetch(
            "sql",
            {"url": "postgresql+psycopg://u@127.0.0.1/d", "table": "t", "secret": "not_there"},
            secrets=secrets.get,
        )


def test_secrets_come_from_the_environment_or_a_file(monkeypatch, tmp_path):
    from fangcuan.ingest.secrets import SecretMissing, get, scrub

    monkeypatch.setenv("FANGCUAN_SECRET_API_KEY", "from-env")
    assert get("api_key") == "from-env"
    monkeypatch.setenv("FANGCUAN_SECRETS_DIR", str(tmp_path))
    (tmp_path / "db").write_text("from file\n")
    (tmp_path / "empty").write_text("")
    assert get("db") == "from file"
    for name in ("empty", "none", "../db", "a/b", ""):
        with pytest.raises(SecretMissing):
            get(name)
    assert scrub("token abc at abc", "abc", "") == "token *** at ***"


def test_cells_of_odd_values():
    from fangcuan.ingest.connectors.sql import cell

    assert cell(Decimal("1E+3")) == "1000"
    assert cell(1e22) == "10000000000000000000000"
    assert cell(float("inf")) == "inf"
    assert cell(dt.timedelta(days=1)) == "1 day, 0:00:00"
