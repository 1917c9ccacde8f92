"""Nights, training, nights: a detector supports what a rule opened, opens nothing, and judges only with bytes we wrote."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from fangcuan import flow
from fangcuan.cases.views import list_cases, show_case
from fangcuan.cli.main import app
from fangcuan.detect.detectors import all_units, load_detector_units
from fangcuan.detect.models import ModelRefused
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.scoring import run_detector
from fangcuan.detect.sources import CatalogueRows
from fangcuan.detect.units import facts_of
from fangcuan.flow.approve import approved_digests, shadow_units
from fangcuan.flow.explain import render, unit_steps
from fangcuan.flow.installation import Installation, open_installation
from fangcuan.flow.night import findings_of, live_units, load_run, open_night, unit_results
from fangcuan.flow.nightly import judge_night
from fangcuan.flow.training import models, open_model, pinned_models, train_detector
from fangcuan.store.casework import case_file, case_finding, finding
from fangcuan.store.catalogue import ModelVersion
from fangcuan.store.database import read, write
from fangcuan.warehouse.engine import DuckEngine

PRICE, PARTNER = "price.price_series_outlier", "diversion.partner_month_outlier"
BEFORE, AFTER, LATER = dt.date(2026, 4, 12), dt.date(2026, 4, 19), dt.date(2026, 4, 20)


def _results(home: Installation, night: dt.date) -> dict[str, dict[str, Any]]:
    return {row["unit_id"]: row for row in unit_results(home, open_night(home, night)["run_id"])}


def _copy(trained: Any, folder: Path) -> Installation:
    """The trained home, to be spoiled."""
    trained.home.engine.dispose()
    shutil.copytree(trained.home.settings.home, folder)
    return open_installation(folder)


def test_before_training_a_detector_says_so_and_the_night_goes_on(trained: Any) -> None:
    assert trained.before["state"] == "judged"
    assert trained.before["untrained_units"] == sorted([PARTNER, PRICE])
    assert trained.before["failed_units"] == []
    result = _results(trained.home, BEFORE)[PRICE]
    assert (result["state"], result["rows"], result["path"]) == ("untrained", 0, None)
    assert result["message"] == f"no trained model yet; run: fangcuan train {PRICE}"
    assert trained.before["cases_opened"] > 0, "no rule opened a case that could be supported"


def test_training_keeps_a_model_with_its_envelope(trained: Any) -> None:
    result = trained.trainings[PRICE]
    assert result["state"] == "trained", result["message"]
    assert result["trained_for"] == BEFORE.isoformat()
    assert result["rows"] >= 100
    assert result["rows_left_out"] > 0, "weeks with a case were learned from"
    (row,) = [row for row in models(trained.home) if row["detector_id"] == PRICE]
    assert (row["state"], row["current"], row["model_id"]) == ("promoted", True, result["model_id"])
    envelope = json.loads((trained.home.settings.lake_path / row["path"]).with_suffix(".json").read_text())
    assert envelope == row["envelope"]
    assert envelope["features"] == list(load_detector_units()[PRICE].rule.feature_names)
    assert set(envelope["versions"]) == {"fangcuan", "python", "scikit-learn", "numpy"}
    assert envelope["window"]["end_day"] == "2026-04-13"
    assert len(envelope["data_sha256"]) == len(envelope["sha256"]) == 64


def test_too_little_to_learn_from_is_told(trained: Any) -> None:
    result = trained.trainings[PARTNER]
    assert result["state"] == "refused"
    assert "60 needed" in result["message"]
    assert trained.after["untrained_units"] == [PARTNER]
    assert trained.after["failed_units"] == []


def test_a_trained_detector_supports_a_case_a_rule_opened_and_opens_none(trained: Any) -> None:
    assert trained.after["findings_by_unit"][PRICE] > 0
    with read(trained.home.engine) as connection:
        rows = connection.execute(
            select(case_finding.c.number, case_finding.c.support, finding.c.unit_id).join(
                finding, finding.c.finding_id == case_finding.c.finding_id
            )
        ).all()
        cases = connection.execute(select(func.count()).select_from(case_file)).scalar_one()
    supported = {row.number for row in rows if row.unit_id == PRICE}
    assert supported, "no case was supported"
    assert all(row.support for row in rows if row.unit_id == PRICE)
    opened = {row.number for row in rows if not row.support}
    assert supported <= opened, "a case stands on a detector alone"
    assert len(opened) == cases


def test_what_is_found_was_planted(trained: Any) -> None:
    """The planted under-cutter of the judged weeks is among what is told of, with its price as the reason."""
    with (trained.world / "truth" / "schemes.csv").open(encoding="utf-8") as stream:
        schemes = [row for row in csv.DictReader(stream) if row["kind"] == "below_floor"]
    active = [row for row in schemes if row["first_day"] <= "2026-04-17" and row["last_day"] >= "2026-04-06"]
    assert len(active) == 1, "the world has another scheme in these weeks"
    run_id = open_night(trained.home, AFTER)["run_id"]
    found = [f for f in findings_of(trained.home, run_id) if f.unit_id == PRICE]
    guilty = {active[0]["partner_id"], active[0]["subject"]}
    hits = [f for f in found if f.subject_id in guilty and f.sku == active[0]["sku"]]
    assert hits, [f.subject_id for f in found]
    for hit in hits:
        assert hit.p_value is not None
        assert 0 < hit.p_value <= 0.02
        assert any("below" in item["feature"] for item in hit.explanation_params["contributions"])
        assert hit.evidence, "nothing to look at"
        assert {ref.relation for ref in hit.evidence} <= {"price_observations", "inspections"}
    # Of all weeks judged, few are told of: the planted one is not found by telling of everybody.
    judged = unit_steps(trained.home, PRICE, AFTER)["total"]
    assert len(found) <= 0.1 * judged


def test_the_explanation_names_values_and_what_is_typical_in_both_languages(trained: Any) -> None:
    cases = [c for c in list_cases(trained.home.engine) if c["family"] == "price"]
    told = [
        item
        for case in cases
        for item in show_case(trained.home.engine, trained.home.evidence, case["number"], render)["findings_detail"]
        if item["unit_id"] == PRICE
    ]
    assert told
    assert "typical" in told[0]["explanation"]["en"]
    assert "常见" in told[0]["explanation"]["zh"]
    assert "{" not in told[0]["explanation"]["en"] + told[0]["explanation"]["zh"]
    unit = told[0]["evidence"]["unit"]
    assert unit["query"] == load_detector_units()[PRICE].rule.query
    shown = told[0]["explanation"]["en"]
    assert "Statistically unusual, nothing more" in shown


def test_the_run_pins_its_model(trained: Any) -> None:
    run = load_run(trained.home, open_night(trained.home, AFTER)["run_id"])
    assert run.plan["models"] == {PRICE: trained.trainings[PRICE]["model_id"]}
    assert load_run(trained.home, open_night(trained.home, BEFORE)["run_id"]).plan["models"] == {}
    units = live_units().values()
    assert pinned_models(trained.home, units, BEFORE) == {}, "a night used a model made with its own data"
    assert set(pinned_models(trained.home, units, BEFORE + dt.timedelta(days=1))) == {PRICE}


def test_training_for_a_past_night_uses_only_what_it_knew(trained: Any) -> None:
    """A week more has been judged since; training for the earlier night gives the very same model."""
    again = train_detector(trained.home, PRICE, BEFORE)
    assert (again["state"], again["model_id"]) == ("unchanged", trained.trainings[PRICE]["model_id"])


def test_threads_change_no_byte(trained: Any) -> None:
    unit = load_detector_units()[PRICE]
    model, envelope = open_model(trained.home, unit, trained.trainings[PRICE]["model_id"])
    units = all_units()
    seen = []
    for threads in (1, 2):
        settings = dataclasses.replace(trained.home.settings, threads=threads)
        rows = CatalogueRows(settings, trained.home.engine, AFTER, {key: item.digest for key, item in units.items()})
        with DuckEngine(settings) as engine:
            night = Night(engine, rows, facts_of(units), night_parameters(AFTER, BEFORE, settings))
            found = run_detector(night, unit, model, envelope, "coverage", settings)
        seen.append(json.dumps([f.as_record() for f in found.findings]))
        place = Installation(settings)
        assert train_detector(place, PRICE, BEFORE)["state"] == "unchanged"
        place.engine.dispose()
    assert seen[0] == seen[1]
    assert len(json.loads(seen[0])) == trained.after["findings_by_unit"][PRICE]


def test_a_model_file_that_was_changed_is_refused_and_the_night_goes_on(trained: Any, tmp_path: Path) -> None:
    home = _copy(trained, tmp_path / "home")
    (row,) = models(home)
    path = home.settings.lake_path / row["path"]
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    result = judge_night(home, LATER, world=trained.world)
    assert result["state"] == "judged"
    assert result["failed_units"] == [PRICE]
    assert "not what was trained" in _results(home, LATER)[PRICE]["message"]
    repaired = train_detector(home, PRICE, BEFORE)
    assert (repaired["state"], repaired["model_id"]) == ("trained", row["model_id"])
    model, _ = open_model(home, load_detector_units()[PRICE], row["model_id"])
    assert len(model.calibration_) == repaired["rows"]
    path.unlink()
    with pytest.raises(ModelRefused, match=r"is missing; train again"):
        open_model(home, load_detector_units()[PRICE], row["model_id"])
    with pytest.raises(ModelRefused, match="knows no model"):
        open_model(home, load_detector_units()[PRICE], "f" * 64)
    home.engine.dispose()


def test_a_file_nobody_trained_is_not_used(trained: Any, tmp_path: Path) -> None:
    """Neither a stranger beside the models nor a model that is only kept judges a night."""
    home = _copy(trained, tmp_path / "home")
    (row,) = models(home)
    stranger = home.settings.lake_path / "models" / PRICE / "0000000000000000.joblib"
    stranger.write_bytes(b"stranger")
    with write(home.engine) as connection:
        connection.execute(update(ModelVersion).values(state="kept"))
    assert pinned_models(home, live_units().values(), LATER) == {}
    assert [item["current"] for item in models(home)] == [False]
    assert row["current"] is True
    home.engine.dispose()


def test_shadow_detectors_compute_and_support_nothing(trained: Any) -> None:
    units = live_units()
    assert units[PARTNER].rule.status == "shadow"
    assert shadow_units(trained.home, units) == {PARTNER}
    assert {units[PRICE].digest, units[PARTNER].digest} <= approved_digests(trained.home)


def test_flow_and_command_line(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANGCUAN_HOME", str(trained.home.settings.home))
    assert flow.detectors() == sorted([PARTNER, PRICE])
    result = flow.train(PRICE, BEFORE.isoformat())
    assert json.loads(json.dumps(result)) == result
    assert result["state"] == "unchanged"
    assert flow.train(PARTNER)["state"] == "refused"
    runner = CliRunner()
    run = runner.invoke(app, ["train", PRICE, "--date", BEFORE.isoformat(), "--json"])
    assert (run.exit_code, json.loads(run.stdout)["items"]) == (0, [result])
    assert runner.invoke(app, ["train", PARTNER]).exit_code == 1
    unknown = runner.invoke(app, ["train", "price.nothing"])
    assert unknown.exit_code == 1
    listed = json.loads(runner.invoke(app, ["detectors", "list", "--json"]).stdout)["items"]
    by_id = {item["id"]: item["trained_for"] for item in listed}
    assert by_id == {PARTNER: None, PRICE: BEFORE.isoformat()}
    assert runner.invoke(app, ["detectors", "test"]).exit_code == 0


def test_nothing_to_train_on_before_the_first_night(tmp_path: Path) -> None:
    from fangcuan.flow.installation import initialise

    home = initialise(tmp_path / "empty")
    result = train_detector(home, PRICE)
    assert (result["state"], result["trained_for"]) == ("refused", None)
    assert "no night was judged yet" in result["message"]
    result = train_detector(home, PRICE, BEFORE)
    assert "judge a night first" in result["message"]
    assert Counter(row["state"] for row in models(home)) == Counter()
    home.engine.dispose()
