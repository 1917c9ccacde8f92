"""Any detector with conformal p-values: how many training rows, scored by models that had not seen them, are as abnormal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from fangcuan.detect.surprise import Matrix, typical


class ConformalDetector(BaseEstimator):
    """Wraps an estimator with `fit(X)` and `score_samples(X)` (higher = more abnormal).

    Training rows are scored in folds, all rows of a subject in one fold: a subject that is odd in every window must not make
    itself look ordinary. After `fit`: `estimator_` (fitted on all rows), `calibration_` (sorted scores of rows by models that
    had not seen their subject), `typical_` (column medians).
    """

    def __init__(self, estimator: Any, folds: int = 5):
        self.estimator = estimator
        self.folds = folds

    def fit(self, X: Matrix, groups: Sequence[str]) -> Self:
        fold = fold_of(groups, self.folds)
        scores = np.empty(X.shape[0])
        for number in np.unique(fold):
            held_out = fold == number
            # With a single subject there is nothing to hold out against.
            learn = ~held_out if not held_out.all() else held_out
            scores[held_out] = clone(self.estimator).fit(X[learn]).score_samples(X[held_out])
        self.estimator_ = clone(self.estimator).fit(X)
        self.calibration_ = np.sort(scores)
        self.typical_ = typical(X)
        self.n_features_in_ = X.shape[1]
        return self

    def score_samples(self, X: Matrix) -> Matrix:
        return np.asarray(self.estimator_.score_samples(X), dtype=np.float64)

    def p_values(self, scores: Matrix) -> Matrix:
        """(1 + training rows at least as abnormal) / (1 + training rows): never 0, and honest however few rows there are."""
        rows = len(self.calibration_)
        below = np.searchsorted(self.calibration_, scores, side="left")
        return (rows - below + 1) / (rows + 1)

    def contributions(self, X: Matrix) -> Matrix:
        """How much each feature adds to the score: what the score loses when that feature alone is made typical."""
        scores = self.score_samples(X)
        found = np.zeros_like(X)
        for column in range(X.shape[1]):
            changed = X.copy()
            changed[:, column] = self.typical_[column]
            found[:, column] = scores - self.score_samples(changed)
        return found


def fold_of(groups: Sequence[str], folds: int) -> NDArray[np.int64]:
    """A fold per row, the same for the same subject on every machine and in every order."""
    numbers = [int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % folds for group in groups]
    return np.array(numbers, dtype=np.int64)
