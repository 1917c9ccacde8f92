"""Two views of how odd a partner's month is, averaged: how easily it is isolated, and how far up the tails its values lie."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest

from fangcuan.authoring import filled, sorted_columns, spread, typical, upper_surprise


class PartnerMonthOutlier(BaseEstimator):
    """IsolationForest on log-scaled features, and the sum of upper-tail surprises per feature (as ECOD does, one-sided).

    Every feature is built so that more of it is more suspicious. The forest sees odd combinations but also quiet months as odd;
    the tails see only excess. `tail_weight` mixes the two, each on its own robust scale.
    """

    def __init__(self, n_estimators: int, max_samples: int, tail_weight: float, random_state: int):
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.tail_weight = tail_weight
        self.random_state = random_state

    def fit(self, X: NDArray[np.float64], y: Any = None) -> Self:
        self.typical_ = typical(X)
        scaled = np.log1p(np.maximum(filled(X, self.typical_), 0))
        self.forest_ = IsolationForest(
            n_estimators=self.n_estimators,
            max_samples=min(self.max_samples, len(scaled)),
            random_state=self.random_state,
            n_jobs=1,
        ).fit(scaled)
        self.columns_ = sorted_columns(scaled)
        isolated, surprise = self._both(scaled)
        self.centre_ = np.array([np.median(isolated), np.median(surprise)])
        self.scale_ = np.array([spread(isolated), spread(surprise)])
        return self

    def score_samples(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """One score per row, higher = more abnormal; about 0 for an ordinary month."""
        scaled = np.log1p(np.maximum(filled(X, self.typical_), 0))
        isolated, surprise = self._both(scaled)
        forest = (isolated - self.centre_[0]) / self.scale_[0]
        tails = (surprise - self.centre_[1]) / self.scale_[1]
        return np.asarray((1 - self.tail_weight) * forest + self.tail_weight * tails)

    def _both(self, scaled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        isolated = -self.forest_.score_samples(scaled)
        return isolated, upper_surprise(self.columns_, scaled).sum(axis=1)
