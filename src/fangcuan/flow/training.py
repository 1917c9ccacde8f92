"""Train detectors on what was known by a night, and give a night the models it may use. Every loaded byte is one we wrote."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select, update

from fangcuan.core.canonical import canonical_json, sha256_hex
from fangcuan.detect.conformal import ConformalDetector
from fangcuan.detect.detectors import DetectorUnit, all_units, load_detector_units
from fangcuan.detect.features import Features, compute_features
from fangcuan.detect.findings import UnitError
from fangcuan.detect.models import ModelRefused, TrainedModel, TrainingRefused, from_bytes, train
from fangcuan.detect.relations import Night, night_end, night_parameters
from fangcuan.detect.sources import CatalogueRows
from fangcuan.detect.sql import SqlRefused
from fangcuan.detect.units import facts_of
from fangcuan.flow.installation import Installation
from fangcuan.ingest.load import insert_new
from fangcuan.store.casework import case_file, case_finding, finding
from fangcuan.store.catalogue import ModelVersion, Run
from fangcuan.store.database import read, write
from fangcuan.warehouse.engine import DuckEngine, QueryRefused, publish_bytes

#: Days before a training window that features may look back to.
_LOOK_BACK = 120


def detector_ids() -> list[str]:
    """Detectors that learn: all but drafts and retired ones."""
    return [key for key, unit in sorted(load_detector_units().items()) if unit.rule.status in {"active", "shadow"}]


def train_detector(installation: Installation, detector_id: str, night: dt.date | None = None) -> dict[str, Any]:
    """Fit one detector on what was known by `night` (default: the last judged one); the nights after it use the model.

    States: `trained`; `kept` (stored and not used, the message says why); `unchanged` (trained for that night before);
    `refused` (nothing to learn from; the message says what is missing).
    """
    units = load_detector_units()
    if detector_id not in units:
        raise LookupError(f"no detector {detector_id!r}; known: {', '.join(sorted(units)) or 'none'}")
    unit = units[detector_id]
    night = night or _last_judged(installation)
    result: dict[str, Any] = {
        "detector_id": detector_id,
        "trained_for": night.isoformat() if night else None,
        "model_id": None,
        "rows": 0,
        "rows_left_out": 0,
        "metrics": {},
    }
    try:
        if night is None:
            raise TrainingRefused(f"{detector_id}: no night was judged yet; judge nights, then train")
        window = unit.training_window(night)
        features = _known_features(installation, unit, night, window)
        spoken_of = _spoken_of(installation, unit, features, night)
        trained = train(unit, features.without(spoken_of), window, night, left_out=len(spoken_of))
    except (TrainingRefused, UnitError, SqlRefused, QueryRefused) as error:
        return {**result, "state": "refused", "message": str(error)}
    state = _keep(installation, unit, trained, night)
    return {
        **result,
        "state": state,
        "message": trained.message,
        "model_id": trained.model_id,
        "rows": trained.envelope["rows"],
        "rows_left_out": trained.envelope["rows_left_out"],
        "metrics": trained.envelope["metrics"],
    }


def models(installation: Installation) -> list[dict[str, Any]]:
    """All trained models, the newest of each detector first; `current` says that the unit's present text uses it next."""
    units = load_detector_units()
    statement = select(ModelVersion.__table__).order_by(
        ModelVersion.detector_id, ModelVersion.trained_for.desc(), ModelVersion.trained_at.desc()
    )
    with read(installation.engine) as connection:
        rows = [dict(row) for row in connection.execute(statement).mappings()]
    current = pinned_models(installation, units.values(), dt.date.max)
    return [{**row, "current": current.get(row["detector_id"]) == row["model_id"]} for row in rows]


def pinned_models(installation: Installation, units: Iterable[Any], night: dt.date) -> dict[str, str]:
    """Model id by detector for a night: of those promoted for the unit's very text before the night, the latest."""
    wanted = {unit.id: unit.digest for unit in units if isinstance(unit, DetectorUnit)}
    if not wanted:
        return {}
    statement = (
        select(ModelVersion.detector_id, ModelVersion.unit_digest, ModelVersion.model_id)
        .where(
            ModelVersion.detector_id.in_(sorted(wanted)),
            ModelVersion.state == "promoted",
            ModelVersion.trained_for < night,
        )
        .order_by(ModelVersion.trained_for, ModelVersion.trained_at, ModelVersion.model_id)
    )
    with read(installation.engine) as connection:
        rows = connection.execute(statement).all()
    return {row.detector_id: row.model_id for row in rows if wanted[row.detector_id] == row.unit_digest}


def open_model(
    installation: Installation, unit: DetectorUnit, model_id: str
) -> tuple[ConformalDetector, Mapping[str, Any]]:
    """A model and its envelope, from bytes whose hash the casebook holds. Raises ModelRefused for any other bytes."""
    with read(installation.engine) as connection:
        row = (
            connection.execute(select(ModelVersion.__table__).where(ModelVersion.model_id == model_id))
            .mappings()
            .first()
        )
    if row is None or row["detector_id"] != unit.id:
        raise ModelRefused(
            f"{unit.id}: the casebook knows no model {model_id[:16]}; train it: fangcuan train {unit.id}"
        )
    path = installation.settings.lake_path / row["path"]
    if not path.is_file():
        raise ModelRefused(f"{unit.id}: {row['path']} is missing; train again: fangcuan train {unit.id}")
    return from_bytes(path.read_bytes(), row["sha256"], row["envelope"], unit), row["envelope"]


def _last_judged(installation: Installation) -> dt.date | None:
    with read(installation.engine) as connection:
        statement = select(Run.night).where(Run.state == "judged").order_by(Run.night.desc()).limit(1)
        return connection.execute(statement).scalar_one_or_none()


def _known_features(
    installation: Installation, unit: DetectorUnit, night: dt.date, window: tuple[dt.date, dt.date]
) -> Features:
    """Rows of the training window as the night knew them: nothing that arrived or was recorded later."""
    settings, units = installation.settings, all_units()
    history = (night - window[0]).days + _LOOK_BACK
    digests = {key: item.digest for key, item in units.items()}
    rows = CatalogueRows(settings, installation.engine, night, digests, history_days=max(history, 400))
    with DuckEngine(settings) as engine:
        engine.confine([settings.lake_path, settings.spill_path])
        opened = Night(engine, rows, facts_of(units), night_parameters(night, None, settings))
        try:
            return compute_features(opened, unit, window)
        except LookupError as error:
            raise TrainingRefused(f"{unit.id}: {error.args[0]}; judge a night first") from error


def _spoken_of(installation: Installation, unit: DetectorUnit, features: Features, night: dt.date) -> list[int]:
    """Rows about which a rule opened a case that nobody had dismissed by the night: they are not what is ordinary."""
    end = night_end(night, installation.settings)
    statement = (
        select(finding.c.subject_id, finding.c.sku, finding.c.window_start, finding.c.window_end)
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .join(case_file, case_file.c.number == case_finding.c.number)
        .where(
            finding.c.family == unit.rule.family,
            finding.c.subject_kind == unit.rule.subject,
            case_finding.c.support.is_(False),
            case_finding.c.attached_night <= night,
            # A decided case without outcome was dismissed; a later dismissal was not known that night.
            case_file.c.is_open | case_file.c.outcome.is_not(None) | (case_file.c.decision_cutoff > end),
        )
    )
    with read(installation.engine) as connection:
        spoken = connection.execute(statement).all()
    by_subject: dict[str, list[Any]] = {}
    for row in spoken:
        by_subject.setdefault(row.subject_id, []).append(row)
    found = []
    names = [
        name for name in ("subject_id", "sku", "window_start", "window_end") if name in features.table.column_names
    ]
    for at, row in enumerate(features.table.select(names).to_pylist()):
        for other in by_subject.get(str(row["subject_id"]), ()):
            same_thing = other.sku is None or row.get("sku") is None or other.sku == row["sku"]
            starts, ends = (_moment(row[name], installation) for name in ("window_start", "window_end"))
            if same_thing and other.window_start < ends and starts < other.window_end:
                found.append(at)
                break
    return found


def _moment(day: Any, installation: Installation) -> dt.datetime:
    if isinstance(day, dt.datetime):
        return day.astimezone(dt.UTC)
    return dt.datetime.combine(day, dt.time(), installation.settings.zone).astimezone(dt.UTC)


def _keep(installation: Installation, unit: DetectorUnit, trained: TrainedModel, night: dt.date) -> str:
    """Write the file, then the row that makes it exist. Training the same again leaves what is there, if it is whole."""
    state = "promoted" if trained.usable else "kept"
    row = {
        "model_id": trained.model_id,
        "detector_id": unit.id,
        "unit_digest": unit.digest,
        "sha256": trained.envelope["sha256"],
        "path": trained.path,
        "envelope": trained.envelope,
        "trained_for": night,
        "trained_at": dt.datetime.now(dt.UTC),
        "state": state,
    }
    path = installation.settings.lake_path / trained.path
    with read(installation.engine) as connection:
        known = connection.execute(
            select(ModelVersion.sha256).where(ModelVersion.model_id == trained.model_id)
        ).scalar_one_or_none()
    if known is not None and path.is_file() and sha256_hex(path.read_bytes()) == known:
        return "unchanged"
    publish_bytes(path.with_suffix(".json"), canonical_json(trained.envelope) + b"\n")
    publish_bytes(path, trained.data)
    with write(installation.engine) as connection:
        if not insert_new(connection, ModelVersion.__table__, [row]):
            # The file was lost or damaged; what was just fitted takes its place.
            connection.execute(update(ModelVersion).where(ModelVersion.model_id == trained.model_id).values(row))
    return "trained" if state == "promoted" else "kept"
