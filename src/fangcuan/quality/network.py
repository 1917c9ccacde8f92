"""Dealers, their product lines and territories, and where units go from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fangcuan.quality.spec import WEEKS_PER_QUARTER, WorldSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Share of sold units that is scanned k weeks after the carton was shipped (about a month on average).
SHELF = 0.75 ** np.arange(WEEKS_PER_QUARTER)
SHELF /= SHELF.sum()
#: Whole weeks between a scan and its arrival, as shares.
DELAYS = np.array([0.90, 0.07, 0.03])


class Chooser:
    """Draws a column for each of many rows of a weight matrix at once (inverse of the cumulated weights)."""

    def __init__(self, weights: Floats):
        rows, self._columns = weights.shape
        cumulated = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        cumulated[:, -1] = 1.0
        self._flat = (cumulated + np.arange(rows)[:, None]).ravel()

    def draw(self, rng: np.random.Generator, rows: Ints) -> Ints:
        at = np.searchsorted(self._flat, rows + rng.random(len(rows)), side="right")
        return np.asarray(np.clip(at - rows * self._columns, 0, self._columns - 1), dtype=np.int64)


@dataclass(frozen=True)
class Network:
    """Per account: dealer, line, home (region), volume (cartons a week), leakage (share of units that innocently leaves).

    `places` (regions × 2, kilometres), `population` per region, `pull` (regions × regions): where a unit that leaves goes; a
    row sums to 1, or to more where migrants take more. `scanning` is the factor of a region's scan coverage. `margin` is yuan
    per unit of a line.
    """

    dealer: Ints
    line: Ints
    home: Ints
    volume: Floats
    leakage: Floats
    places: Floats
    population: Floats
    pull: Floats
    scanning: Floats
    margin: Floats

    @property
    def accounts(self) -> int:
        return len(self.dealer)


def build(spec: WorldSpec) -> Network:
    rng = spec.rng("network")
    places = rng.random((spec.regions, 2)) * 2_000.0
    population = rng.lognormal(1.0, 0.7, spec.regions)
    scanning = rng.lognormal(0.0, 0.35, spec.regions)
    scanning /= scanning.mean()
    distance = np.hypot(*(places[:, None, :] - places[None, :, :]).transpose(2, 0, 1))
    pull = population[None, :] / (distance + 50.0) ** 1.5
    np.fill_diagonal(pull, 0.0)
    pull /= pull.sum(axis=1, keepdims=True)
    if spec.corridors:
        origins = rng.choice(spec.regions, size=min(spec.corridors, spec.regions), replace=False)
        goals = (origins + rng.integers(1, spec.regions, len(origins))) % spec.regions
        pull[origins, goals] += 1.5
    homes = rng.choice(spec.regions, size=spec.dealers, p=population / population.sum())
    carries = rng.random((spec.dealers, spec.lines)) < 0.5
    carries[:, 0] = True
    dealer, line = np.nonzero(carries)
    leakage = spec.leakage * rng.gamma(spec.leakage_shape, 1.0 / spec.leakage_shape, spec.dealers)
    hubs = rng.random(spec.dealers) < spec.hub_share
    leakage = np.where(hubs, leakage * spec.hub_factor, leakage)
    volume = rng.gamma(2.0, spec.cartons_per_week / 2.0, len(dealer)) + 1.0
    return Network(
        dealer=dealer,
        line=line,
        home=homes[dealer],
        volume=volume,
        leakage=np.minimum(leakage[dealer] * rng.gamma(8.0, 1.0 / 8.0, len(dealer)), 0.6),
        places=places,
        population=population,
        pull=pull,
        scanning=scanning,
        margin=np.array([90.0, 30.0, 12.0, 45.0, 20.0])[: spec.lines],
    )


def orders(spec: WorldSpec, net: Network) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(cartons ordered per account × week, quarter targets per account × quarter), before any scheme.

    Dealers order every week, every second or every fourth, more towards the end of a quarter and less after it.
    """
    rng = spec.rng("orders")
    week = np.arange(spec.weeks)
    within = week % WEEKS_PER_QUARTER
    every = rng.choice([1, 2, 4], size=net.accounts, p=[0.5, 0.3, 0.2])[:, None]
    phase = rng.integers(0, 4, size=net.accounts)[:, None]
    push = rng.gamma(2.0, 0.25, size=net.accounts)[:, None]
    bulge = np.where(within >= WEEKS_PER_QUARTER - 3, 1.0 + push, 1.0)
    bulge = np.where(within < 3, np.maximum(1.0 - push, 0.1), bulge)
    season = 1.0 + 0.2 * np.sin(2.0 * np.pi * week / 52.0)
    mean = net.volume[:, None] * season * bulge * every * ((week + phase) % every == 0)
    cartons = rng.poisson(mean * rng.gamma(12.0, 1.0 / 12.0, mean.shape))
    quarters = -(-spec.weeks // WEEKS_PER_QUARTER)
    targets = np.repeat(np.rint(net.volume * WEEKS_PER_QUARTER * 1.1).astype(np.int64)[:, None], quarters, axis=1)
    return cartons.astype(np.int64), targets


def sold_units(spec: WorldSpec, net: Network, cartons: NDArray[np.int64]) -> Floats:
    """Expected units sold per account × week: shipped cartons spread over the weeks on the shelf, with a past before week 0."""
    before = np.repeat(net.volume[:, None], len(SHELF) - 1, axis=1)
    shipped = np.concatenate([before, cartons.astype(np.float64)], axis=1)
    weeks = cartons.shape[1]
    sold = np.zeros(cartons.shape)
    for lag, share in enumerate(SHELF):
        start = len(SHELF) - 1 - lag
        sold += share * shipped[:, start : start + weeks]
    return sold * spec.units_per_carton
