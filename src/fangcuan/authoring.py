"""What content (`pipelines/<id>/extract.py`, `detectors/`) may import: this module, and nothing else of fangcuan.

An `extract.py` gives one function, applied to every chunk of raw rows before they are mapped:

    def extract(chunk: pyarrow.Table) -> pyarrow.Table

It may make several rows of one or leave rows out. Every row keeps its `_position` (POSITION), so that what goes wrong with
it later can be found in the source; what the function itself finds wrong it says in `_problems` (PROBLEMS, see `problem`)
or, for the document as a whole, by raising Refused. The same chunk gives the same rows: no clock, no files, no network.

A `model.py` gives one scikit-learn estimator with `fit(X)` and `score_samples(X)`, higher = more abnormal; unknown values
are nan. `typical` and `filled` put medians in their place, `sorted_columns` and `upper_surprise` say how far in the upper
tail of the training rows a value lies, `spread` gives a scale that outliers do not move.
"""

from __future__ import annotations

import json

import pyarrow as pa

from fangcuan.detect.surprise import filled, sorted_columns, spread, typical, upper_surprise
from fangcuan.ingest.base import POSITION, PROBLEMS, Refused


def repeated(chunk: pa.Table, times: int, column: str = "part") -> pa.Table:
    """Every row `times` times, one after the other, with `column` counting them from 1."""
    rows = chunk.num_rows
    at = pa.array([row for row in range(rows) for _ in range(times)], pa.int64())
    parts = pa.array(list(range(1, times + 1)) * rows, pa.int64())
    return chunk.take(at).append_column(column, parts)


def problem(reason: str, column: str, value: str | None, expected: str) -> str:
    """The text of `_problems` for a row that has this one."""
    return json.dumps([{"reason": reason, "column": column, "value": value, "expected": expected}], ensure_ascii=False)


__all__ = [
    "POSITION",
    "PROBLEMS",
    "Refused",
    "filled",
    "problem",
    "repeated",
    "sorted_columns",
    "spread",
    "typical",
    "upper_surprise",
]
