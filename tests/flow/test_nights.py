"""One row's way from a file to a case, and what must not change it."""

from __future__ import annotations

import datetime as dt
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from fangcuan.cases.views import list_cases, show_case
from fangcuan.flow.explain import render
from fangcuan.flow.installation import open_installation
from fangcuan.flow.night import findings_of, lake_engine, live_units, open_night
from fangcuan.warehouse.engine import QueryRefused


def _findings(installation: Any, night: dt.date) -> bytes:
    run = open_night(installation, night)
    assert run["state"] == "judged"
    return b"\n".join(
        json.dumps(f.as_record(), sort_keys=True).encode() for f in findings_of(installation, run["run_id"])
    )


@pytest.fixture
def undisturbed(judged_once: Path) -> Any:
    """What the small world comes to when all goes well; to be read."""
    return open_installation(judged_once)


def test_a_night_files_a_case_with_its_evidence(new_home: Any, small_world: Path, flow_tools: dict[str, Any]) -> None:
    home = new_home()
    results = flow_tools["judge"](home, small_world)
    assert sum(result["cases_opened"] for result in results) == 1
    (case,) = list_cases(home.engine)
    shown = show_case(home.engine, home.evidence, case["number"], render)
    assert shown["subject"] == {"kind": "partner", "id": "D1"}
    assert (shown["family"], shown["wording"], shown["allowed_action"]) == ("diversion", "signal", "observe")
    (finding,) = shown["findings_detail"]
    assert "5 cartons of D1" in finding["explanation"]["en"]
    assert "5 箱" in finding["explanation"]["zh"]
    rows = finding["evidence"]["rows"]
    read = [row["row"] for row in rows if row["row"]["observer"] == "consumer_scan"]
    shipped = [row["row"] for row in rows if row["row"]["biz_step"] == "shipping"]
    assert len(read) == 20
    assert {row["region_code"] for row in read} == {"410100"}
    assert {row["destination_partner_id"] for row in shipped} == {"D1"}
    assert len(shipped) == 5
    assert len(finding["unit_digest"]) == 64
    assert len(shown["evidence_root"]) == 64
    assert finding["evidence"]["coverage"]["not_looked"] == []
    assert shown["timeline"][0]["kind"] == "case.opened"


def test_the_same_night_again_changes_nothing(new_home: Any, small_world: Path, flow_tools: dict[str, Any]) -> None:
    home = new_home()
    flow_tools["judge"](home, small_world)
    before = flow_tools["state"](home)
    assert all(result.get("again") for result in flow_tools["judge"](home, small_world))
    assert flow_tools["state"](home) == before


def test_the_same_goods_read_at_home_file_no_case(new_home: Any, tmp_path: Path, flow_tools: dict[str, Any]) -> None:
    home = new_home()
    results = flow_tools["judge"](home, flow_tools["build_world"](tmp_path / "honest", diverters=()))
    assert [result["findings"] for result in results] == [0] * len(results)
    assert list_cases(home.engine) == []
    # Nothing was found because nothing is there, and not because nothing was looked at.
    assert all(result["facts"] > 0 for result in results)
    assert all(result["not_looked"] == result["blind_units"] == result["failed_units"] == [] for result in results)


def test_master_data_without_a_beginning_is_in_force_since_ever(
    new_home: Any, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    """A grant that was given no first day is a grant: who sells at home under it is not accused."""
    world = flow_tools["build_world"](tmp_path / "undated")
    changed = 0
    for path in (world / "master").glob("*.csv"):
        text = path.read_text()
        path.write_text(text.replace("2025-01-01", ""))
        changed += text.count("2025-01-01")
    assert changed == 3
    home = new_home()
    flow_tools["judge"](home, world)
    (case,) = list_cases(home.engine)
    assert (case["subject"]["id"], case["product_line"]) == ("D1", "baijiu")


def test_more_cases_than_a_unit_may_open_wait_behind_one_for_its_owner(
    new_home: Any, tmp_path: Path, flow_tools: dict[str, Any]
) -> None:
    world = flow_tools["build_world"](tmp_path / "stormy", diverters=("D1", "D2"))
    home = new_home(max_cases=1)
    results = flow_tools["judge"](home, world)
    (case,) = list_cases(home.engine)
    assert case["storm"]
    assert case["subject"] == {"kind": "source", "id": "diversion.repeated_destination"}
    assert case["assignee"] == live_units()["diversion.repeated_destination"].rule.owner
    assert (results[-1]["storms"], results[-1]["findings_waiting"]) == (1, 2)
    # The same nights where two are allowed: nobody is held back.
    free = new_home("free", max_cases=2)
    flow_tools["judge"](free, world)
    assert {case["subject"]["id"] for case in list_cases(free.engine)} == {"D1", "D2"}


def test_what_judges_a_night_reads_the_lake_and_nothing_else(new_home: Any, tmp_path: Path) -> None:
    home = new_home()
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    inside = home.settings.lake_path / "inside.csv"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_text("a\n1\n")
    with lake_engine(home) as engine:
        assert engine.rows(f"select * from read_csv('{inside}')") == [{"a": 1}]
        for forbidden in (
            f"select * from read_csv('{secret}')",
            f"copy (select 1) to '{tmp_path / 'out.csv'}'",
            "set enable_external_access = true",
        ):
            with pytest.raises(QueryRefused):
                engine.execute(forbidden)


def test_threads_and_file_order_do_not_change_a_byte(
    new_home: Any, small_world: Path, flow_tools: dict[str, Any], tmp_path: Path
) -> None:
    shuffled = tmp_path / "shuffled"
    shutil.copytree(small_world, shuffled)
    for path in shuffled.rglob("*.csv"):
        head, *rows = path.read_text().splitlines()
        random.Random(5).shuffle(rows)
        path.write_text("\n".join([head, *rows]) + "\n")
    one, two = new_home("one", threads=1), new_home("two", threads=2)
    flow_tools["judge"](one, small_world)
    flow_tools["judge"](two, shuffled)
    for night in flow_tools["nights"]:
        assert _findings(one, night) == _findings(two, night)
    assert flow_tools["state"](one) == flow_tools["state"](two)
    assert _findings(one, flow_tools["nights"][-1]), "the last night found nothing to compare"


def test_a_back_filled_night_finds_what_it_would_have_found_then(
    new_home: Any, small_world: Path, undisturbed: Any, flow_tools: dict[str, Any]
) -> None:
    ordered, late = undisturbed, new_home("late")
    first, second, third, fourth = flow_tools["nights"]
    flow_tools["judge"](late, small_world, [first, second, fourth])
    flow_tools["judge"](late, small_world, [third])
    assert _findings(ordered, third)
    assert _findings(late, third) == _findings(ordered, third)
    assert _findings(late, third) != _findings(late, fourth)


def test_events_that_arrive_later_are_seen_from_then_on_only(
    new_home: Any, small_world: Path, undisturbed: Any, flow_tools: dict[str, Any], tmp_path: Path
) -> None:
    world = tmp_path / "late"
    shutil.copytree(small_world, world)
    nights = flow_tools["nights"]
    feed = world / "feeds" / "trace_events"
    (feed / f"{nights[1]}.csv").rename(feed / f"{nights[3]}-late.csv")
    home = new_home("home")
    results = flow_tools["judge"](home, world)
    assert results[1]["findings"] == 0
    assert _findings(home, nights[3]) == _findings(undisturbed, nights[3])


def test_a_document_that_arrives_after_its_night_was_judged_is_news_of_the_next(
    new_home: Any, small_world: Path, undisturbed: Any, flow_tools: dict[str, Any], tmp_path: Path
) -> None:
    world = tmp_path / "forgotten"
    shutil.copytree(small_world, world)
    nights = flow_tools["nights"]
    feed = world / "feeds" / "trace_events"
    kept = (feed / f"{nights[1]}.csv").read_bytes()
    (feed / f"{nights[1]}.csv").unlink()
    home = new_home()
    flow_tools["judge"](home, world, nights[:3])
    (feed / f"{nights[1]}.csv").write_bytes(kept)
    (result,) = flow_tools["judge"](home, world, nights[3:])
    assert result["facts"] > 0
    assert _findings(home, nights[3]) == _findings(undisturbed, nights[3])


@pytest.mark.parametrize("wrong", ["feeds/tracings", "master/dealers.csv"])
def test_a_folder_that_is_no_relation_is_named(
    new_home: Any, tmp_path: Path, wrong: str, flow_tools: dict[str, Any]
) -> None:
    from fangcuan.content.problem import ContentError

    world = flow_tools["build_world"](tmp_path / "world")
    path = world / wrong
    path.mkdir(parents=True) if path.suffix == "" else path.write_text("a\n1\n")
    with pytest.raises(ContentError, match=path.name.split(".")[0]):
        flow_tools["judge"](new_home(), world)
