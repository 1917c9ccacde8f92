"""Past findings are judged again to the same bytes; what changed is named field by field, what is gone by its digest."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from fangcuan.cases.views import list_cases
from fangcuan.cli.main import app
from fangcuan.content.roots import shipped_root
from fangcuan.flow import pinned
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.differences import differences
from fangcuan.flow.installation import Installation, initialise, open_installation
from fangcuan.flow.nightly import judge_nights
from fangcuan.flow.pulling import pull_all
from fangcuan.flow.replay import Replay
from fangcuan.simulate.spec import preset
from fangcuan.simulate.worlds import simulate
from fangcuan.store.casework import finding_occurrence
from fangcuan.store.catalogue import LakeFileRow, Run
from fangcuan.store.database import read

Homes = Callable[..., Installation]


def numbers(home: Installation) -> list[str]:
    return sorted(case["number"] for case in list_cases(home.engine))


def occurrences(home: Installation) -> int:
    with read(home.engine) as connection:
        return len(connection.execute(select(finding_occurrence.c.night)).all())


@pytest.fixture
def judged(judged_once: Path, tmp_path: Path) -> Iterator[Installation]:
    """A judged home of one's own, to be broken."""
    shutil.copytree(judged_once, tmp_path / "home")
    home = open_installation(tmp_path / "home")
    yield home
    home.engine.dispose()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A copy of the shipped content, to be changed."""
    folder = tmp_path / "content"
    for kind in ("rules", "sql"):
        shutil.copytree(shipped_root() / kind, folder / kind)
    return folder


def with_severity(folder: Path, unit: str, severity: str) -> Path:
    path = folder / "rules" / f"{unit.replace('.', '/')}.yml"
    text, lines = re.subn(r"^severity: \w+$", f"severity: {severity}", path.read_text(encoding="utf-8"), flags=re.M)
    assert lines == 1
    path.write_text(text, encoding="utf-8")
    return path


def test_every_case_is_reproduced_byte_for_byte(new_home: Homes, small_world: Path, flow_tools: dict[str, Any]) -> None:
    judged = new_home()
    flow_tools["judge"](judged, small_world)
    before = flow_tools["state"](judged)
    told = list(Replay(judged).cases(numbers(judged)))
    assert told
    assert {one["state"] for item in told for one in item["occurrences"]} == {"reproduced"}
    assert {item["state"] for item in told} == {"reproduced"}
    # Several nights, not one: a fact of an earlier night was read, and its own night's was computed.
    assert len({one["night"] for item in told for one in item["occurrences"]}) > 1
    assert all(item["engine"]["differs"] == [] for item in told)
    assert all(set(item["engine"]["runs"].values()) == {pinned.engine()["digest"]} for item in told)
    assert flow_tools["state"](judged) == before
    assert list((judged.settings.spill_path).glob("replay-*")) == []


def test_the_content_of_the_night_judges_again_after_a_rule_was_changed(
    judged: Installation, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = numbers(judged)[0]
    unit = Replay(judged).case(name)["occurrences"][0]
    stored = json.loads(judged.evidence.get(unit["evidence_sha256"]))["finding"]["unit_id"]
    with_severity(private, stored, "low")
    # The installed content is another one from here on.
    monkeypatch.setattr("fangcuan.content.roots.shipped_root", lambda: private)
    shutil.copytree(shipped_root() / "detectors", private / "detectors")
    told = Replay(judged).case(name)
    assert told["state"] == "reproduced"
    with read(judged.engine) as connection:
        kept = connection.execute(select(Run.plan)).scalars().first()["content"]
    path = judged.evidence.path(kept)
    path.chmod(0o600)
    path.unlink()
    told = Replay(judged).case(name)
    assert told["state"] == "not reproducible"
    assert {one["missing"]["digest"] for one in told["occurrences"]} == {kept}


def test_a_changed_rule_gives_exactly_the_fields_that_differ(judged: Installation, private: Path) -> None:
    told = Replay(judged).case(numbers(judged)[0])
    stored = json.loads(judged.evidence.get(told["occurrences"][0]["evidence_sha256"]))
    unit = stored["finding"]["unit_id"]
    was = stored["finding"]["severity"]
    assert was != "low"
    path = with_severity(private, unit, "low")
    for given in (path, private):
        told = Replay(judged, with_rules=given).case(numbers(judged)[0])
        assert told["state"] == "drifted"
        first = told["occurrences"][0]
        # Its text is another one, so its digest and the identity made of it are; beyond that the severity alone.
        assert {one["field"] for one in first["differences"]} == {
            "finding.finding_id",
            "finding.severity",
            "finding.unit_digest",
            "snapshot.unit.digest",
        }
        (severity,) = (one for one in first["differences"] if one["field"] == "finding.severity")
        assert (severity["filed"], severity["replayed"]) == (was, "low")
    same = Replay(judged, with_rules=shipped_root()).case(numbers(judged)[0])
    assert same["state"] == "reproduced"


def test_a_deleted_partition_is_named_by_its_digest(judged: Installation) -> None:
    with read(judged.engine) as connection:
        rows = connection.execute(
            select(LakeFileRow.path, LakeFileRow.sha256).where(LakeFileRow.relation == "trace_events")
        ).all()
    first = min(rows)
    path = judged.settings.lake_path / first.path
    data = path.read_bytes()
    path.unlink()
    told = Replay(judged).case(numbers(judged)[0])
    assert told["state"] == "not reproducible"
    missing = [one["missing"] for one in told["occurrences"] if one["missing"]]
    assert {one["digest"] for one in missing} == {first.sha256}
    assert "is gone" in missing[0]["message"]
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    told = Replay(judged).case(numbers(judged)[0])
    assert {one["missing"]["digest"] for one in told["occurrences"] if one["missing"]} == {first.sha256}
    assert "was altered" in told["occurrences"][0]["missing"]["message"]
    path.write_bytes(data)
    assert Replay(judged).case(numbers(judged)[0])["state"] == "reproduced"


def test_an_altered_manifest_and_an_altered_run_are_told(judged: Installation) -> None:
    number = numbers(judged)[0]
    run_id = Replay(judged).case(number)["occurrences"][0]["run_id"]
    (manifest,) = (judged.settings.lake_path / "manifests").glob(f"*-{run_id[:12]}.json")
    text = manifest.read_text()
    listed = json.loads(text)
    listed["files"].pop()
    manifest.write_text(json.dumps(listed))
    told = Replay(judged).case(number)["occurrences"][0]
    assert (told["state"], told["missing"]["what"]) == ("not reproducible", "manifest")
    assert told["missing"]["digest"] == listed["manifest_digest"]
    manifest.write_text(text)
    with judged.engine.begin() as connection:
        connection.execute(Run.__table__.update().where(Run.run_id == run_id).values(code_version="9.9"))
    told = Replay(judged).case(number)["occurrences"][0]
    assert (told["state"], told["missing"]["digest"]) == ("not reproducible", run_id)


def test_what_came_late_changes_the_verdict_of_now_and_not_that_of_the_run(
    new_home: Homes, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    world = flow_tools["build_world"](tmp_path / "late")
    nights = flow_tools["nights"]
    home = new_home()
    flow_tools["judge"](home, world, nights[:3])
    number = numbers(home)[0]
    at_once = Replay(home, at="now").case(number)
    assert at_once["state"] == "reproduced"
    # On the fourth night, scans of the first one arrive: units that had not been seen yet.
    feed = world / "feeds" / "trace_events"
    with (feed / f"{nights[0]}.csv").open(encoding="utf-8", newline="") as stream:
        scan = next(row for row in csv.DictReader(stream) if row["observer"] == "consumer_scan")
    with (feed / f"{nights[3]}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    units = {row["epc"] for row in rows if row["observer"] == "consumer_scan" and row["region_code"] == "410100"}
    late = [
        {**scan, "event_id": f"late{n}", "epc": epc, "region_code": "410100", "device_hash": f"late{n}"}
        for n, epc in enumerate(sorted(units))
    ]
    with (feed / f"{nights[3]}.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys([*rows[0], *late[0]])))
        writer.writeheader()
        writer.writerows([*rows, *late])
    flow_tools["judge"](home, world, nights[3:])
    now = Replay(home, at="now").case(number)
    assert now["state"] == "drifted"
    first = now["occurrences"][0]
    assert any("late0" in one["field"] for one in first["differences"]), first
    assert "finding.evidence_root" in {one["field"] for one in first["differences"]}
    assert Replay(home).case(number)["state"] == "reproduced"


def test_master_data_received_later_count_now_and_not_for_the_run(
    judged: Installation, small_world: Path, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    number = numbers(judged)[0]
    world = tmp_path / "world"
    shutil.copytree(small_world, world)
    grants = world / "master" / "territories.csv"
    lines = grants.read_text(encoding="utf-8").splitlines()
    # A second territory of D1, given without a word on when it was recorded: as if it had always been known.
    more = lines[1].replace("G1", "G9").replace("320100", "410100")
    assert more != lines[1]
    grants.write_text("\n".join([*lines, more]) + "\n", encoding="utf-8")
    list(pull_all(judged, flow_tools["nights"][-1] + dt.timedelta(days=1), world=world))
    with read(judged.engine) as connection:
        assert connection.exec_driver_sql("select count(*) from master_territories where grant_id = 'G9'").scalar() == 1
    assert Replay(judged).case(number)["state"] == "reproduced"
    now = Replay(judged, at="now").case(number)
    assert now["state"] == "drifted"
    assert {"finding"} <= {each["field"] for one in now["occurrences"] for each in one["differences"]}
    # A row of then that was taken away is missed by its digest.
    with judged.engine.begin() as connection:
        for (name,) in connection.exec_driver_sql(
            "select name from sqlite_master where type = 'trigger' and tbl_name = 'master_territories'"
        ).all():
            connection.exec_driver_sql(f"drop trigger {name}")
        connection.exec_driver_sql("delete from master_territories where grant_id = 'G2'")
    told = Replay(judged).case(number)["occurrences"][0]
    assert (told["state"], told["missing"]["what"]) == ("not reproducible", "master data")


def test_a_storm_is_judged_again_with_what_waits_behind_it(tmp_path: Path, flow_tools: dict[str, Any]) -> None:
    world = flow_tools["build_world"](tmp_path / "world", diverters=("D1", "D2"))
    home = initialise(tmp_path / "home", memory_limit="1GB", max_cases=1)
    approve_shipped(home)
    flow_tools["judge"](home, world)
    storms = [case["number"] for case in list_cases(home.engine) if case["storm"]]
    assert storms
    assert {item["state"] for item in Replay(home).cases(numbers(home))} == {"reproduced"}
    lines = json.dumps(Replay(home, with_rules=shipped_root()).case(storms[0]))
    assert '"reproduced"' in lines


def test_another_engine_is_named_by_its_digest(judged: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pinned.engine()
    other = {**here, "libraries": {**here["libraries"], "duckdb": {"version": "0.0.1", "sha256": "ab" * 32}}}
    monkeypatch.setattr(pinned, "engine", lambda: {**other, "digest": "cd" * 32})
    told = Replay(judged).case(numbers(judged)[0])
    assert told["state"] == "reproduced"
    assert [one["name"] for one in told["engine"]["differs"]] == ["duckdb"]
    assert told["engine"]["differs"][0]["run"] == here["libraries"]["duckdb"]


def test_the_command_says_it_and_ends_with_it(judged: Installation, private: Path) -> None:
    run = CliRunner()
    home = ["--home", str(judged.settings.home)]
    done = run.invoke(app, ["replay", "--all", *home])
    assert done.exit_code == 0, done.output
    assert "reproduced" in done.output
    assert "every library by its digest" in done.output
    done = run.invoke(app, ["replay", numbers(judged)[0], "--json", *home])
    assert json.loads(done.stdout)["items"][0]["state"] == "reproduced"
    for arguments, code in (
        (["replay", *home], 2),
        (["replay", "FC-2026-999999", *home], 1),
        (["replay", "--all", "--with-rules", str(judged.settings.home), *home], 1),
    ):
        assert run.invoke(app, arguments).exit_code == code, arguments
    for path in (private / "rules").glob("*/*.yml"):
        path.write_text(path.read_text(encoding="utf-8") + "# another text\n", encoding="utf-8")
    assert run.invoke(app, ["replay", "--all", "--with-rules", str(private), *home]).exit_code == 10
    for path in (judged.settings.lake_path / "trace_events").rglob("*.parquet"):
        path.unlink()
    assert run.invoke(app, ["replay", "--all", *home]).exit_code == 20


def test_what_is_no_snapshot_of_content_is_refused() -> None:
    assert pinned.read_content(pinned.content_text({"rules/price/a.yml": "x"})) == {"rules/price/a.yml": "x"}
    for name in (
        "rules/../../a.yml",
        "/etc/passwd",
        "rules/a.yml",
        "dags/x/y.py",
        "rules/price\\..\\a.yml",
        "rules//a",
    ):
        with pytest.raises(ValueError, match="not a snapshot"):
            pinned.read_content(pinned.content_text({name: "x"}))


def test_differences_are_named_by_path() -> None:
    row = {"relation": "sales", "key": "k|1", "row": {"quantity": "2", "sku": "S"}}
    filed = {"finding": {"score": 1, "list": ["a"], "same": {"x": 1}}, "rows": [row, {**row, "key": "k|2"}]}
    replayed = {
        "finding": {"score": 2, "list": ["b"], "same": {"x": 1}, "more": True},
        "rows": [{**row, "row": {"quantity": "3"}}],
    }
    assert [one["field"] for one in differences(filed, replayed)] == [
        "finding.list",
        "finding.more",
        "finding.score",
        "rows[sales k|1].row.quantity",
        "rows[sales k|1].row.sku",
        "rows[sales k|2]",
    ]
    assert differences(1, True) == [{"field": "all", "filed": 1, "replayed": True}]
    assert differences(filed, filed) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_case_of_the_tiny_world_is_reproduced(tmp_path: Path) -> None:
    simulate(preset("tiny"), tmp_path / "world")
    home = initialise(tmp_path / "home", memory_limit="1GB")
    approve_shipped(home)
    told = json.loads((tmp_path / "world" / "world.json").read_text(encoding="utf-8"))
    first, last = (dt.date.fromisoformat(told[name]) for name in ("first_night", "last_night"))
    list(judge_nights(home, first, last, world=tmp_path / "world"))
    verdicts = list(Replay(home).cases(numbers(home)))
    assert len(verdicts) > 5
    assert {one["state"] for item in verdicts for one in item["occurrences"]} == {"reproduced"}
