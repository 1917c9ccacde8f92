"""Rows of features.sql as a matrix: sorted, checked, with a hash that says which numbers a model saw."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from fangcuan.core.canonical import canonical_json, quantise
from fangcuan.detect.detectors import ROW_KEY, DetectorUnit
from fangcuan.detect.findings import UnitError
from fangcuan.detect.relations import Night
from fangcuan.detect.run import UNIT_SECONDS, time_limit
from fangcuan.detect.surprise import Matrix


@dataclass(frozen=True)
class Features:
    """Rows in the order of their keys: the whole table, and the feature columns as float64 (nan where unknown)."""

    table: pa.Table
    X: Matrix
    keys: list[tuple[Any, ...]]

    @property
    def subjects(self) -> list[str]:
        return [str(key[0]) for key in self.keys]

    def without(self, left_out: Iterable[int]) -> Features:
        """The same without the rows at these positions."""
        gone = set(left_out)
        kept = [at for at in range(len(self.keys)) if at not in gone]
        return Features(self.table.take(pa.array(kept, pa.int64())), self.X[kept], [self.keys[at] for at in kept])

    @property
    def sha256(self) -> str:
        """Over keys and numbers; the same rows give the same hash whatever order the engine found them in."""
        total = hashlib.sha256(canonical_json(self.keys))
        total.update(np.ascontiguousarray(self.X).astype("<f8").tobytes())
        return total.hexdigest()


def compute_features(
    night: Night, unit: DetectorUnit, window: tuple[dt.date, dt.date], seconds: float = UNIT_SECONDS
) -> Features:
    """Features of the windows that start in [first day, end). Raises UnitError, SqlRefused or QueryRefused."""
    sql = night.prepare(unit.query, unit.query_parameters(window))
    with time_limit(night.engine, unit.id, seconds):
        table = night.engine.arrow(sql)
    return as_features(unit, table)


def as_features(unit: DetectorUnit, table: pa.Table) -> Features:
    """Sort and check. Raises UnitError for a row without subject or window, a repeated key, or a number that is none."""
    names = [name for name in ROW_KEY if name in table.column_names]
    columns = [table.column(name).to_pylist() for name in names]
    keys = list(zip(*columns, strict=True))
    for key in keys:
        if key[0] is None or key[-1] is None:
            raise UnitError(
                f"{unit.id}: a row without subject_id or window_start: {dict(zip(names, key, strict=True))}"
            )
    order = sorted(range(len(keys)), key=lambda at: [("" if part is None else str(part)) for part in keys[at]])
    table = table.take(pa.array(order, pa.int64()))
    keys = [keys[at] for at in order]
    for first, second in pairwise(keys):
        if first == second:
            raise UnitError(f"{unit.id}: two rows about {dict(zip(names, first, strict=True))}; give one per window")
    X = np.empty((len(keys), len(unit.rule.features)))
    for position, name in enumerate(unit.rule.feature_names):
        X[:, position] = [_number(unit, name, value) for value in table.column(name).to_pylist()]
    return Features(table, X, keys)


def _number(unit: DetectorUnit, name: str, value: Any) -> float:
    if value is None:
        return float("nan")
    try:
        number = quantise(float(value))
    except (TypeError, ValueError) as error:
        raise UnitError(f"{unit.id}: feature {name}: {value!r} is not a finite number") from error
    return float("nan") if number is None else number
