"""Fitted models: planted rows are found, p-values keep their word, and only bytes we wrote are ever unpickled."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fangcuan.content.detectors_yaml import model_class
from fangcuan.content.roots import shipped_root
from fangcuan.core.canonical import sha256_hex
from fangcuan.detect.conformal import ConformalDetector, fold_of
from fangcuan.detect.detectors import DetectorUnit, earlier_window, load_detector_units, next_window, window_floor
from fangcuan.detect.features import Features, as_features
from fangcuan.detect.findings import UnitError
from fangcuan.detect.models import ModelRefused, TrainedModel, TrainingRefused, from_bytes, to_bytes, train
from fangcuan.detect.surprise import typical, upper_surprise

UNITS = sorted(load_detector_units())
NIGHT, WINDOW = dt.date(2026, 4, 12), (dt.date(2026, 1, 1), dt.date(2026, 4, 1))


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> DetectorUnit:
    return load_detector_units()[request.param]


def made(unit: DetectorUnit, rows: int = 200, seed: int = 1, planted: int = 0) -> Features:
    """Ordinary rows of 40 subjects; the first `planted` ones have every feature three times the largest."""
    draws = np.random.default_rng(seed)
    X = np.round(draws.gamma(2.0, 1.0, size=(rows, len(unit.rule.features))), 6)
    X[draws.random(X.shape) < 0.03] = np.nan
    X[:planted] = np.nanmax(X, axis=0) * 3
    subjects = [f"D{at % 40:02d}" for at in range(rows)]
    days = [dt.date(2026, 1, 1) + dt.timedelta(days=at // 40) for at in range(rows)]
    columns = {"subject_id": subjects, "window_start": days, "window_end": [day + dt.timedelta(days=1) for day in days]}
    columns |= {name: X[:, at] for at, name in enumerate(unit.rule.feature_names)}
    return as_features(unit, pa.table(columns))


def fitted(unit: DetectorUnit, features: Features) -> tuple[TrainedModel, ConformalDetector]:
    trained = train(unit, features, WINDOW, NIGHT)
    return trained, from_bytes(trained.data, trained.envelope["sha256"], trained.envelope, unit)


def test_a_planted_row_is_found_and_was_planted(unit: DetectorUnit) -> None:
    _, model = fitted(unit, made(unit))
    clean, dirty = made(unit, seed=2), made(unit, seed=2, planted=1)
    at = next(n for n, row in enumerate(dirty.X) if not np.array_equal(row, clean.X[n], equal_nan=True))
    assert sum(not np.array_equal(a, b, equal_nan=True) for a, b in zip(clean.X, dirty.X, strict=True)) == 1
    scores = model.score_samples(dirty.X)
    assert int(np.argmax(scores)) == at
    assert model.p_values(scores)[at] == pytest.approx(1 / 201)
    assert model.p_values(model.score_samples(clean.X))[at] > 0.02, "the row was odd before anything was planted"
    adds = model.contributions(dirty.X[at : at + 1])[0]
    assert adds.max() > 0


def test_scores_tell_rows_apart(unit: DetectorUnit) -> None:
    trained, model = fitted(unit, made(unit))
    assert trained.usable
    assert trained.envelope["metrics"]["distinct_scores"] > 150
    assert len(np.unique(model.score_samples(made(unit, seed=3).X))) > 150


def test_a_model_that_cannot_tell_rows_apart_is_kept_and_not_used(unit: DetectorUnit) -> None:
    features = made(unit)
    flat = Features(features.table, np.ones_like(features.X), features.keys)
    trained = train(unit, flat, WINDOW, NIGHT)
    assert not trained.usable
    assert "different scores" in trained.message


def test_p_values_are_honest_on_ordinary_rows(unit: DetectorUnit) -> None:
    shares = []
    for seed in range(6):
        _, model = fitted(unit, made(unit, seed=seed))
        chances = model.p_values(model.score_samples(made(unit, rows=400, seed=100 + seed).X))
        shares.append(float(np.mean(chances <= 0.05)))
    assert 0.02 < float(np.mean(shares)) < 0.08


def test_an_odd_subject_does_not_make_itself_ordinary() -> None:
    """All rows of a subject are held out together: its own other windows do not speak for it."""
    groups = [f"D{at % 7}" for at in range(70)]
    folds = fold_of(groups, 5)
    assert all(len({int(f) for f, g in zip(folds, groups, strict=True) if g == name}) == 1 for name in set(groups))
    assert len(set(folds.tolist())) > 1


def test_row_order_changes_nothing(unit: DetectorUnit) -> None:
    features = made(unit)
    order = np.random.default_rng(5).permutation(len(features.keys))
    shuffled = as_features(unit, features.table.take(pa.array(order)))
    first, second = train(unit, features, WINDOW, NIGHT), train(unit, shuffled, WINDOW, NIGHT)
    assert shuffled.sha256 == features.sha256
    assert first.envelope == second.envelope
    assert first.data == second.data


def test_other_numbers_are_another_model(unit: DetectorUnit) -> None:
    first, second = train(unit, made(unit), WINDOW, NIGHT), train(unit, made(unit, seed=9), WINDOW, NIGHT)
    assert first.model_id != second.model_id
    assert train(unit, made(unit), WINDOW, dt.date(2026, 4, 13)).model_id != first.model_id


def test_too_few_rows_are_refused(unit: DetectorUnit) -> None:
    with pytest.raises(TrainingRefused, match=r"30 rows .* needed"):
        train(unit, made(unit, rows=30), WINDOW, NIGHT)


def test_a_model_loses_nothing_between_processes(unit: DetectorUnit, tmp_path: Path) -> None:
    """Pickled through the content path, unpickled by a process that never saw the class, and trained again there."""
    trained, model = fitted(unit, made(unit))
    X = made(unit, seed=4).X
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "model").write_bytes(trained.data)
    code = f"""
import io, sys, joblib, numpy as np
model = joblib.load({str(tmp_path / "model")!r})
print(type(model.estimator_).__module__)
np.save({str(tmp_path / "scores.npy")!r}, model.score_samples(np.load({str(tmp_path / "X.npy")!r})))
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(shipped_root() / "src"), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == f"fangcuan.content.detectors.{unit.rule.name}.model"
    assert np.array_equal(np.load(tmp_path / "scores.npy"), model.score_samples(X))
    assert to_bytes(model) == to_bytes(pickle.loads(pickle.dumps(model)))


class _Trap:
    """Unpickling this leaves a mark."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_other_bytes_are_refused_before_they_are_read(unit: DetectorUnit, tmp_path: Path) -> None:
    trained, _ = fitted(unit, made(unit))
    mark = tmp_path / "executed"
    hostile = pickle.dumps(_Trap(mark))
    with pytest.raises(ModelRefused, match=r"not what was trained.*fangcuan train"):
        from_bytes(hostile, trained.envelope["sha256"], trained.envelope, unit)
    assert not mark.exists(), "the bytes were unpickled"
    pickle.loads(hostile)
    assert mark.exists(), "the trap does not work, so the test above shows nothing"
    flipped = bytearray(trained.data)
    flipped[len(flipped) // 2] ^= 1
    with pytest.raises(ModelRefused, match="not what was trained"):
        from_bytes(bytes(flipped), trained.envelope["sha256"], trained.envelope, unit)


def test_a_model_of_other_versions_or_another_text_is_refused(unit: DetectorUnit) -> None:
    trained, _ = fitted(unit, made(unit))
    sha256 = trained.envelope["sha256"]
    old = {**trained.envelope, "versions": {**trained.envelope["versions"], "scikit-learn": "1.2.0"}}
    with pytest.raises(ModelRefused, match=r"trained with scikit-learn 1\.2\.0"):
        from_bytes(trained.data, sha256, old, unit)
    with pytest.raises(ModelRefused, match="another version of the detector"):
        from_bytes(trained.data, sha256, {**trained.envelope, "unit_digest": "0" * 64}, unit)
    other = pickle.dumps({"no": "model"})
    with pytest.raises(ModelRefused, match="holds no model"):
        from_bytes(other, sha256_hex(other), trained.envelope, unit)


def test_rows_that_are_no_features_are_refused(unit: DetectorUnit) -> None:
    table = made(unit, rows=40).table
    with pytest.raises(UnitError, match="two rows about"):
        as_features(unit, pa.concat_tables([table, table.slice(0, 1)]))
    name = unit.rule.feature_names[0]
    at = table.column_names.index(name)
    with pytest.raises(UnitError, match=f"{name}: inf is not a finite number"):
        as_features(unit, table.set_column(at, name, pa.array([float("inf")] * 40)))
    with pytest.raises(UnitError, match="without subject_id"):
        as_features(unit, table.set_column(0, "subject_id", pa.array([None] * 40, pa.string())))


def test_windows_are_calendar_windows(unit: DetectorUnit) -> None:
    night = dt.date(2026, 4, 12)  # a Sunday
    first, end = unit.training_window(night)
    assert end == (dt.date(2026, 4, 13) if unit.rule.window == "week" else dt.date(2026, 4, 1))
    assert window_floor(first, unit.rule.window) == first
    low, high = unit.scoring_window(night)
    assert low < night < high
    assert earlier_window(high, unit.rule.window, unit.rule.score_windows) == low
    assert next_window(dt.date(2026, 1, 1), "month") == dt.date(2026, 2, 1)
    assert earlier_window(dt.date(2026, 3, 1), "month", 14) == dt.date(2025, 1, 1)


def test_surprise_grows_with_the_value_and_unknowns_are_typical() -> None:
    reference = np.sort(np.arange(99.0).reshape(-1, 1), axis=0)
    low, middle, high, beyond = upper_surprise(reference, np.array([[0.0], [49.0], [98.0], [1e9]])).ravel()
    assert low == pytest.approx(0)
    assert low < middle < high < beyond == pytest.approx(np.log(100))
    assert typical(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist() == [2.0, 0.0]


def test_hyper_parameters_come_from_the_yaml(unit: DetectorUnit) -> None:
    model = model_class(unit.loaded)(**unit.hyper_parameters)
    assert model.get_params() == {name: item.value for name, item in unit.rule.hyper_parameters.items()}
