"""Score the rows of a night with a trained model; the rare ones become findings that name their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fangcuan.core.canonical import quantise
from fangcuan.detect.conformal import ConformalDetector
from fangcuan.detect.detectors import DetectorUnit
from fangcuan.detect.features import Features, compute_features
from fangcuan.detect.findings import STANDARD, attach_evidence, fetch_evidence, to_findings
from fangcuan.detect.relations import Night
from fangcuan.detect.run import UNIT_SECONDS, UnitFindings
from fangcuan.detect.surprise import Matrix, filled
from fangcuan.settings import Settings

#: Features an explanation names at most.
REASONS = 3


def run_detector(
    night: Night,
    unit: DetectorUnit,
    model: ConformalDetector,
    envelope: Mapping[str, Any],
    coverage_id: str,
    settings: Settings,
    seconds: float = UNIT_SECONDS,
) -> UnitFindings:
    """Findings of one detector with their evidence. Raises UnitError, SqlRefused or QueryRefused."""
    window = unit.scoring_window(night.parameters["night"])
    features = compute_features(night, unit, window, seconds)
    flagged, scores, chances = _flagged(unit, model, features)
    if not flagged:
        return UnitFindings([], {})
    X = features.X[flagged]
    contributions = model.contributions(X)
    reasons = [_reasons(unit, model, X[at], contributions[at]) for at in range(len(flagged))]
    table = _told(unit, features.table.take(pa.array(flagged, pa.int64())), scores, chances, reasons, model, envelope)
    pairs = to_findings(unit, table, coverage_id, settings)
    rows = fetch_evidence(night, (key for _, keys in pairs for key in keys))
    findings, _ = attach_evidence(pairs, rows)
    return UnitFindings(findings, rows)


def _flagged(
    unit: DetectorUnit, model: ConformalDetector, features: Features
) -> tuple[list[int], list[float], list[float]]:
    """Positions of the rows to tell of with their scores and p-values: the most abnormal first, then by key."""
    if not features.keys:
        return [], [], []
    # Rounded before anything is compared, so that the last bits of a sum decide nothing.
    scores = np.array([quantise(float(score)) or 0.0 for score in model.score_samples(features.X)])
    chances = model.p_values(scores)
    rare = [at for at in range(len(scores)) if chances[at] <= unit.rule.flag.p_value]
    rare.sort(key=lambda at: (-scores[at], at))
    rare = sorted(rare[: unit.rule.flag.max_findings])
    return rare, [float(scores[at]) for at in rare], [float(chances[at]) for at in rare]


def _reasons(unit: DetectorUnit, model: ConformalDetector, row: Matrix, adds: Matrix) -> list[dict[str, Any]]:
    """The features that add most to the score, each with its value and the typical one."""
    values = filled(row.reshape(1, -1), model.typical_)[0]
    rounded = [quantise(float(value)) or 0.0 for value in adds]
    order = sorted(range(len(rounded)), key=lambda at: (-rounded[at], at))
    chosen = [at for at in order if rounded[at] > 0 and values[at] != model.typical_[at]][:REASONS]
    # Where only the combination is odd no feature stands out alone; those farthest from typical are named then.
    if not chosen:
        chosen = [at for at in order if values[at] != model.typical_[at]][:REASONS]
    names = unit.rule.feature_names
    return [
        {
            "feature": names[at],
            "value": quantise(float(values[at])),
            "typical": quantise(float(model.typical_[at])),
            "adds": rounded[at],
        }
        for at in chosen
    ]


def _told(
    unit: DetectorUnit,
    table: pa.Table,
    scores: list[float],
    chances: list[float],
    reasons: list[list[dict[str, Any]]],
    model: ConformalDetector,
    envelope: Mapping[str, Any],
) -> pa.Table:
    """The columns of findings: the query's own but for its features, and what the engine adds."""
    wanted = STANDARD | set(unit.rule.explanation_names) | set(unit.rule.fingerprint)
    kept = [name for name in table.column_names if name in wanted or name.startswith("evidence_")]
    table = table.select(kept)
    named = set(unit.rule.explanation_names)
    added: dict[str, list[Any]] = {
        "score": scores,
        "p_value": chances,
        "reasons_en": [_sentence(unit, found, "en") for found in reasons],
        "reasons_zh": [_sentence(unit, found, "zh") for found in reasons],
        "rarity_pct": [_short(100 * chance) for chance in chances],
        "compared_with": [len(model.calibration_)] * len(scores),
        "trained_for": [envelope["trained_for"]] * len(scores),
        "contributions": reasons,
        "model": [envelope["model_id"]] * len(scores),
    }
    for name, values in added.items():
        if name in {"score", "p_value"} or name in named:
            table = table.append_column(name, pa.array(values))
    return table


def _sentence(unit: DetectorUnit, reasons: list[dict[str, Any]], language: str) -> str:
    titles = {feature.name: feature.title for feature in unit.rule.features}
    if language == "zh":
        return "；".join(
            f"{titles[r['feature']].zh} {_short(r['value'])}（常见 {_short(r['typical'])}）" for r in reasons
        )
    return "; ".join(
        f"{titles[r['feature']].en} {_short(r['value'])} (typical {_short(r['typical'])})" for r in reasons
    )


def _short(value: float) -> str:
    """A number for a sentence: three significant digits, whole numbers whole."""
    number = float(f"{value:.3g}")
    return str(int(number)) if number.is_integer() else f"{number:g}"
