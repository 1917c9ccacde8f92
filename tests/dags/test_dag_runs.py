"""Each DAG, run for real by `airflow dags test` on a small installation."""

from __future__ import annotations

import pytest

from fangcuan import flow

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(1800)]

NIGHT = "2026-03-14"


def test_sources_are_pulled_and_the_night_is_judged_once(place, airflow_on, dags_test) -> None:
    place.deliver(NIGHT)
    home = airflow_on(place)
    pulled = dags_test(home, "pull_sources", night=NIGHT)
    assert pulled.state == "success", pulled.log
    assert pulled.not_successful() == {}
    assert sorted(name for name in pulled.tasks if name.startswith("pull_")) == [
        *(f"pull_events[{n}]" for n in range(3)),
        *(f"pull_masters[{n}]" for n in range(4)),
    ]

    first = dags_test(home, "nightly_conflict_check", night=NIGHT)
    assert first.state == "success", first.log
    assert first.not_successful() == {"report_failures": "skipped"}
    run = place.judged()[NIGHT]

    again = dags_test(home, "nightly_conflict_check", night=NIGHT)
    assert again.state == "success", again.log
    assert {name for name, state in again.tasks.items() if state == "success"} == {"night_due", "open_night"}
    assert set(again.not_successful().values()) == {"skipped"}
    assert place.judged()[NIGHT] == run


def test_a_source_that_is_away_stops_neither_pull_nor_night(place, airflow_on, dags_test) -> None:
    place.deliver(NIGHT)
    place.lose("sales")
    home = airflow_on(place)
    pulled = dags_test(home, "pull_sources", night=NIGHT)
    assert pulled.state == "success", pulled.log
    assert list(pulled.not_successful().values()) == ["failed"]
    assert pulled.log.count("TASK WILL BE RETRIED") == 3
    assert pulled.log.count("TASK FAILED") == 1

    checked = dags_test(home, "nightly_conflict_check", night=NIGHT)
    assert checked.state == "success", checked.log
    sources = place.rows("select source_id, state from pull where night = '2026-03-14' order by source_id")
    assert {row["source_id"] for row in sources if row["state"] == "unavailable"} == {"t_sales"}
    assert NIGHT in place.judged()


def test_a_unit_that_fails_is_named_and_the_others_are_filed(place, airflow_on, dags_test) -> None:
    place.deliver(NIGHT)
    place.add_rule("broken_on_purpose", "select cast('no number' as integer) as subject_id from partners")
    home = airflow_on(place)
    assert dags_test(home, "pull_sources", night=NIGHT).state == "success"
    checked = dags_test(home, "nightly_conflict_check", night=NIGHT)
    assert checked.state == "failed"
    assert sorted(checked.not_successful().values()) == ["failed", "failed"]
    assert checked.tasks["report_failures"] == "failed"
    assert checked.tasks["file_cases"] == "success", checked.log
    assert "diversion.broken_on_purpose" in checked.log
    assert NIGHT in place.judged()


def test_a_lake_that_is_damaged_is_not_judged(place, airflow_on, dags_test) -> None:
    place.deliver(NIGHT)
    home = airflow_on(place)
    assert dags_test(home, "pull_sources", night=NIGHT).state == "success"
    broken = next(iter((place.home / "lake").rglob("relation=trace_events/**/*.parquet")), None) or next(
        path for path in (place.home / "lake").rglob("*.parquet") if "trace_events" in str(path)
    )
    broken.write_bytes(broken.read_bytes()[:-1])
    checked = dags_test(home, "nightly_conflict_check", night=NIGHT)
    assert checked.state == "failed"
    assert checked.tasks["check_lake"] == "failed"
    assert checked.tasks["decide"] == "skipped"
    assert checked.tasks["file_cases"] in {"skipped", "upstream_failed"}
    assert place.judged() == {}


def test_prices_are_pulled_through_the_day(place, airflow_on, dags_test) -> None:
    place.deliver(NIGHT)
    done = dags_test(airflow_on(place), "price_watch", night=NIGHT)
    assert done.state == "success", done.log
    assert sorted(done.tasks) == ["announce", "list_sources", "night_ahead", "pull[0]"]
    assert [row["source_id"] for row in place.rows("select source_id from pull")] == ["t_prices"]


def test_the_house_is_kept(place, airflow_on, dags_test) -> None:
    done = dags_test(airflow_on(place), "housekeeping")
    assert done.state == "success", done.log
    assert done.not_successful() == {}


def test_models_are_trained_on_what_a_judged_night_knew(place, airflow_on, dags_test) -> None:
    """A night is too little to fit anything: every detector says so, which is a failed task and not a model."""
    place.deliver(NIGHT)
    home = airflow_on(place)
    assert dags_test(home, "pull_sources", night=NIGHT).state == "success"
    assert dags_test(home, "nightly_conflict_check", night=NIGHT).state == "success"
    done = dags_test(home, "train_models", night=NIGHT)
    assert done.tasks["detectors"] == "success"
    trained = {name: state for name, state in done.tasks.items() if name.startswith("train[")}
    assert len(trained) == len(flow.detectors())
    assert set(trained.values()) <= {"success", "failed"}, done.log
    assert ("failed" in trained.values()) == (done.state == "failed")
    assert "AttributeError" not in done.log
