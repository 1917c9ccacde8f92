"""Train a detector and keep what was learned: bytes that are loaded only when the casebook knows their sha256, and an envelope.

A pickle runs code when it is read. So the bytes are hashed first, against a hash that the casebook holds since training;
the envelope beside the file is for people and is never what is trusted.
"""

from __future__ import annotations

import datetime as dt
import io
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import sklearn

import fangcuan
from fangcuan.content.detectors_yaml import model_class
from fangcuan.core.canonical import digest, quantise, sha256_hex
from fangcuan.detect.conformal import ConformalDetector
from fangcuan.detect.detectors import DetectorUnit
from fangcuan.detect.features import Features
from fangcuan.detect.surprise import Matrix

ENVELOPE_VERSION = 1
#: A model that gives fewer different scores than this cannot rank anything.
MIN_DISTINCT_SCORES = 10


class TrainingRefused(Exception):
    """There is nothing sensible to learn from; the message says what is missing."""


class ModelRefused(Exception):
    """A stored model may not be loaded; the message says why and what to do."""


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model as bytes, and its envelope. `usable` is false when it must not judge anybody; `message` says why."""

    data: bytes
    envelope: dict[str, Any]
    usable: bool
    message: str

    @property
    def model_id(self) -> str:
        return str(self.envelope["model_id"])

    @property
    def path(self) -> str:
        """Where the bytes belong, below the lake; the envelope lies beside them."""
        return f"models/{self.envelope['detector_id']}/{self.model_id[:16]}.joblib"


def train(
    unit: DetectorUnit, features: Features, window: tuple[dt.date, dt.date], night: dt.date, left_out: int = 0
) -> TrainedModel:
    """Fit on the rows of a training window as known on `night`. Raises TrainingRefused where there are too few.

    `left_out` counts rows that were taken out before because a case speaks of them.
    """
    rows = len(features.keys)
    if rows < unit.rule.training.min_rows:
        raise TrainingRefused(
            f"{unit.id}: {rows} rows between {window[0]} and {window[1]}, {unit.rule.training.min_rows} needed; "
            "judge more nights, or lower training.min_rows"
        )
    estimator = model_class(unit.loaded)(**unit.hyper_parameters)
    model = ConformalDetector(estimator).fit(features.X, features.subjects)
    metrics = _metrics(model, features.X)
    usable = metrics["distinct_scores"] >= MIN_DISTINCT_SCORES
    message = "" if usable else f"only {metrics['distinct_scores']} different scores; kept, not used"
    data = to_bytes(model)
    identity = {
        "envelope_version": ENVELOPE_VERSION,
        "detector_id": unit.id,
        "unit_digest": unit.digest,
        "versions": versions(),
        "trained_for": night,
        "window": {"first_day": window[0], "end_day": window[1]},
        "data_sha256": features.sha256,
    }
    envelope = {
        **identity,
        "trained_for": night.isoformat(),
        "window": {"first_day": window[0].isoformat(), "end_day": window[1].isoformat()},
        "model_id": digest(identity),
        "model": f"{model_class(unit.loaded).__module__}.{unit.rule.model}",
        "hyper_parameters": unit.hyper_parameters,
        "features": list(unit.rule.feature_names),
        "rows": rows,
        "rows_left_out": left_out,
        "subjects": len(set(features.subjects)),
        "metrics": metrics,
        "sha256": sha256_hex(data),
        "size": len(data),
    }
    return TrainedModel(data, envelope, usable, message)


def versions() -> dict[str, str]:
    """What a saved model depends on."""
    return {
        "fangcuan": fangcuan.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


def to_bytes(model: ConformalDetector) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes, sha256: str, envelope: Mapping[str, Any], unit: DetectorUnit) -> ConformalDetector:
    """The model in `data`, unpickled only if its hash is the `sha256` of the casebook. Raises ModelRefused otherwise."""
    again = f"train again: fangcuan train {unit.id}"
    if sha256_hex(data) != sha256:
        raise ModelRefused(f"{unit.id}: the model file is not what was trained (sha256 differs); {again}")
    if envelope["unit_digest"] != unit.digest or envelope["features"] != list(unit.rule.feature_names):
        raise ModelRefused(f"{unit.id}: the model was trained for another version of the detector; {again}")
    for name in ("scikit-learn", "numpy", "python"):
        trained, here = envelope["versions"].get(name), versions()[name]
        if _minor(trained) != _minor(here):
            raise ModelRefused(f"{unit.id}: trained with {name} {trained}, this is {here}; {again}")
    # The class the bytes name has to be the one that was checked, overlays included.
    model_class(unit.loaded)
    model = joblib.load(io.BytesIO(data))
    if not isinstance(model, ConformalDetector) or model.n_features_in_ != len(unit.rule.features):
        raise ModelRefused(f"{unit.id}: the file holds no model of this detector; {again}")
    return model


def _minor(version: str | None) -> list[str]:
    return (version or "").split(".")[:2]


def _metrics(model: ConformalDetector, X: Matrix) -> dict[str, Any]:
    """What can be said without labels: whether scores tell rows apart, how they spread, and which features never vary."""
    own = model.score_samples(X)
    rounded = {quantise(float(score)) for score in own}
    levels = np.quantile(model.calibration_, [0.5, 0.9, 0.99])
    return {
        "distinct_scores": len(rounded),
        "calibration_median": quantise(float(levels[0])),
        "calibration_q90": quantise(float(levels[1])),
        "calibration_q99": quantise(float(levels[2])),
        "typical": [quantise(float(value)) for value in model.typical_],
        "unknown_share": [quantise(float(share)) for share in np.isnan(X).mean(axis=0)],
        "constant": [
            bool(np.nanmax(column) == np.nanmin(column)) if (~np.isnan(column)).any() else True for column in X.T
        ],
    }
