"""What a rule's SQL may not do: leave its relations, change anything, read the clock, or hold up a night."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from fangcuan.content.problem import ContentError
from fangcuan.content.units import LoadedRule, load_rule
from fangcuan.detect.findings import UnitError
from fangcuan.detect.given import GivenRows
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_unit
from fangcuan.detect.units import load_units
from fangcuan.settings import Settings
from fangcuan.warehouse.engine import DuckEngine, QueryRefused

RULE = """\
id: diversion.probe
title: {{en: Probe, zh: 探针}}
role: case
status: draft
owner: tests
subject: partner
query: |
{query}
explanation: {{en: Probe, zh: 探针}}
triage: {{en: Probe, zh: 探针}}
innocent_readings: []
known_gaps: []
tests:
  - name: a test that fires
    given: {{}}
    expect: [{{subject_id: D1}}]
  - name: a test that is quiet
    given: {{}}
    expect: []
"""
COLUMNS = "as subject_id, $night as window_start, $night + 1 as window_end, 1 as score"

HOSTILE = {
    "a file by its name": "select * from '/etc/passwd'",
    "a file by its quoted name": 'select * from "/etc/passwd"',
    "a data file": "select * from 'lake/trace_events.parquet'",
    "an address": "select * from 'https://example.org/x.csv'",
    "read_csv": "select * from read_csv('/etc/passwd')",
    "read_text in a step": "with a as (select * from read_text('/etc/passwd')) select * from a",
    "read_blob below a select": "select (select content from read_blob('/etc/passwd')) as subject_id",
    "read_parquet in a join": "select * from partners join read_parquet('x') using (partner_id)",
    "parquet_scan": "select * from parquet_scan('x')",
    "a list of files": "select * from glob('/*')",
    "a lateral file": "select * from partners, lateral (select * from read_csv('x')) y",
    "another database": "select * from sqlite_scan('x.db', 'partners')",
    "a text that is run": "select * from query('select 1')",
    "a table named by text": "select * from query_table('partners')",
    "copy": "copy partners to '/tmp/x.csv'",
    "export": "export database '/tmp/x'",
    "attach": "attach '/tmp/x.db' as x",
    "create": "create table x as select 1",
    "select into": "select * into x from partners",
    "insert": "insert into partners select * from partners",
    "update": "update partners set name = 'x'",
    "delete": "delete from partners",
    "drop": "drop table partners",
    "a second statement": "select 1; drop table partners",
    "pragma": "pragma database_list",
    "set": "set memory_limit = '100GB'",
    "install": "install httpfs",
    "load": "load httpfs",
    "call": "call pragma_version()",
    "now": "select now()",
    "now deep inside": "select * from partners where valid_from < cast(now() - interval 1 day as date)",
    "current_timestamp": "select current_timestamp",
    "current_date": "select current_date",
    "localtimestamp": "select localtimestamp",
    "today": "select today()",
    "uuid": "select uuid()",
    "the environment": "select getenv('HOME')",
    "a setting": "select current_setting('memory_limit')",
    "a variable": "select getvariable('x')",
    "settings": "select * from duckdb_settings()",
    "secrets": "select * from duckdb_secrets()",
    "the catalogue": "select * from information_schema.tables",
    "a table of the engine": "select * from pg_catalog.pg_tables",
    "a table by its schema": "select * from main.partners",
    "sqlite_master": "select * from sqlite_master",
    "raw rows of the lake": "select * from lake_trace_events",
    "raw rows of the casebook": "select * from recorded_partners",
    "raw steps of custody": "select * from steps_holding_steps",
    "cases": "select * from case_event",
    "a parameter nobody declared": "select $password as subject_id",
    "a step that hides a relation": "with partners as (select 1) select * from partners",
    "not SQL": "select from where",
}

#: Still let through by the check of SQL: a night judged twice could differ, or wait. Each must be refused in the end.
LET_THROUGH = {
    "random": "select random()",
    "uuid of another version": "select uuidv7()",
    "local time": "select current_localtime()",
    "age against today": "select age(timestamp '2020-01-01')",
    "a sample": "select * from partners using sample 10",
    "a name of the engine": "select current_database()",
    "a line in the engine's log": "select write_log('x')",
    "sleep": "select sleep_ms(1000)",
}


def _rule(folder: Path, query: str) -> LoadedRule:
    path = folder / "rules" / "diversion" / "probe.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    indented = "\n".join(f"  {line}" for line in query.splitlines())
    path.write_text(RULE.format(query=indented), encoding="utf-8")
    return load_rule(folder, path)


def _refused(folder: Path, query: str) -> ContentError:
    loaded = _rule(folder, query)
    with pytest.raises(ContentError) as caught:
        load_units({loaded.rule.id: loaded})
    return caught.value


@pytest.mark.parametrize("what", HOSTILE)
def test_refused_before_it_runs(what: str, tmp_path: Path) -> None:
    error = _refused(tmp_path, HOSTILE[what])
    assert all(str(problem).startswith("rules/diversion/probe.yml:") for problem in error.problems), what


@pytest.mark.parametrize("what", LET_THROUGH)
def test_refused_whatever_the_parser_calls_it(what: str, tmp_path: Path) -> None:
    _refused(tmp_path, LET_THROUGH[what])


def test_complaint_names_the_line(tmp_path: Path) -> None:
    error = _refused(tmp_path, "select partner_id\nfrom partners\nwhere where")
    # The query begins on line 7 of the file, its third line is line 10.
    assert "rules/diversion/probe.yml:10" in str(error)


def _run(query: str, settings: Settings, folder: Path, seconds: float = 60) -> None:
    loaded = _rule(folder, query)
    units = load_units({loaded.rule.id: loaded})
    night = dt.date(2026, 3, 31)
    with DuckEngine(settings) as engine:
        source = GivenRows({"partners": [{"partner_id": "D1", "name": "One", "kind": "dealer"}]}, night, folder)
        opened = Night(engine, source, {}, night_parameters(night, None, settings))
        run_unit(opened, units["diversion.probe"], "test", settings, seconds)


def test_a_decent_query_runs(settings: Settings, tmp_path: Path) -> None:
    _run(f"select partner_id {COLUMNS} from partners", settings, tmp_path)


def test_a_query_that_does_not_end_is_stopped(settings: Settings, tmp_path: Path) -> None:
    endless = f"select cast(sum(a.range * b.range) as varchar) {COLUMNS} from range(10000000) a, range(10000000) b"
    begun = time.monotonic()
    with pytest.raises(QueryRefused, match=r"diversion\.probe ran longer than 0\.5 s"):
        _run(endless, settings, tmp_path, seconds=0.5)
    assert time.monotonic() - begun < 30


def test_evidence_must_be_a_row_of_the_night(settings: Settings, tmp_path: Path) -> None:
    invented = f"select partner_id {COLUMNS}, ['no such row'] as evidence_partners from partners"
    with pytest.raises(UnitError, match="is not a row_key of that relation"):
        _run(invented, settings, tmp_path)


def test_columns_nobody_reads_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnitError, match="column gossip is not used"):
        _run(f"select partner_id {COLUMNS}, 'x' as gossip from partners", settings, tmp_path)


def test_one_row_per_subject_and_window(settings: Settings, tmp_path: Path) -> None:
    twice = f"select partner_id {COLUMNS} from partners cross join range(2)"
    with pytest.raises(UnitError, match="one row per subject"):
        _run(twice, settings, tmp_path)


def test_a_confined_engine_reads_no_other_file(settings: Settings, tmp_path: Path) -> None:
    """The second wall: even SQL that passed the check reads only the folders of the night."""
    inside, outside = tmp_path / "lake", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "x.csv").write_text("a\n1\n")
    with DuckEngine(settings) as engine:
        engine.confine([inside])
        assert engine.rows(f"select * from read_csv('{inside / 'x.csv'}')") == [{"a": 1}]
        for sql in (
            f"select * from read_csv('{outside / 'x.csv'}')",
            f"attach '{outside / 'x.db'}' as x",
            f"copy (select 1) to '{outside / 'y.csv'}'",
        ):
            with pytest.raises(QueryRefused):
                engine.execute(sql)
