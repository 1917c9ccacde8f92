"""How odd the prices of a seller's week are: the tails of each residual, and how easily the week is isolated."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest

from fangcuan.authoring import filled, sorted_columns, spread, typical, upper_surprise


class PriceSeriesOutlier(BaseEstimator):
    """Upper-tail surprises of residuals, the `strongest` of them summed, mixed with an IsolationForest.

    Residuals against peers, own past and other surfaces say the same thing when a price really moved; summing only the strongest
    keeps the many residuals that are nothing from drowning the one that is.
    """

    def __init__(self, n_estimators: int, max_samples: int, strongest: int, tail_weight: float, random_state: int):
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.strongest = strongest
        self.tail_weight = tail_weight
        self.random_state = random_state

    def fit(self, X: NDArray[np.float64], y: Any = None) -> Self:
        self.typical_ = typical(X)
        values = filled(X, self.typical_)
        self.forest_ = IsolationForest(
            n_estimators=self.n_estimators,
            max_samples=min(self.max_samples, len(values)),
            random_state=self.random_state,
            n_jobs=1,
        ).fit(values)
        self.columns_ = sorted_columns(values)
        isolated, surprise = self._both(values)
        self.centre_ = np.array([np.median(isolated), np.median(surprise)])
        self.scale_ = np.array([spread(isolated), spread(surprise)])
        return self

    def score_samples(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """One score per row, higher = more abnormal; about 0 for an ordinary week."""
        isolated, surprise = self._both(filled(X, self.typical_))
        forest = (isolated - self.centre_[0]) / self.scale_[0]
        tails = (surprise - self.centre_[1]) / self.scale_[1]
        return np.asarray((1 - self.tail_weight) * forest + self.tail_weight * tails)

    def _both(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        isolated = -self.forest_.score_samples(values)
        surprise = upper_surprise(self.columns_, values)
        strongest = np.sort(surprise, axis=1)[:, -self.strongest :]
        return isolated, strongest.sum(axis=1)
