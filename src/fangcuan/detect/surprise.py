"""Small numeric tools for detectors, in numpy alone: tails of columns as seen in training, and robust scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def typical(X: Matrix) -> Matrix:
    """Median of every column, unknown values (nan) left out; 0 for a column that is nowhere known."""
    known = ~np.isnan(X).all(axis=0)
    medians = np.zeros(X.shape[1])
    if known.any():
        medians[known] = np.nanmedian(X[:, known], axis=0)
    return medians


def filled(X: Matrix, values: Matrix) -> Matrix:
    """`X` with every unknown value replaced by its column's of `values`."""
    return np.where(np.isnan(X), values, X)


def spread(values: Matrix) -> float:
    """Interquartile range as a standard deviation; the standard deviation itself, or 1, where that is nothing."""
    low, high = np.percentile(values, [25, 75])
    scale = float(high - low) / 1.349
    return scale or float(np.std(values)) or 1.0


def sorted_columns(X: Matrix) -> Matrix:
    """What `upper_surprise` compares with: the columns of training rows without unknown values, each sorted."""
    return np.sort(X, axis=0)


def upper_surprise(reference: Matrix, X: Matrix) -> Matrix:
    """-log of the share of training values that are at least as large, per cell: 0 for an ordinary value, log(n + 1) at most."""
    rows = reference.shape[0]
    surprise = np.empty_like(X, dtype=np.float64)
    for column in range(reference.shape[1]):
        below = np.searchsorted(reference[:, column], X[:, column], side="left")
        surprise[:, column] = -np.log((rows - below + 1) / (rows + 1))
    return surprise
