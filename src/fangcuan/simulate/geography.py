"""Where things happen: real provinces and prefectures with GB/T 2260 codes, and how far apart they are.

Coordinates are those of the seat, to about a kilometre; populations are rounded from the 2020 census. A border in a world is
the line of equal distance between two seats, so "which region is this point in" has one answer that needs no polygons.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

COUNTRY = "100000"
KM_PER_DEGREE = 111.2
_PROVINCE_ORDER = ("32", "33", "34", "44", "41", "31", "37", "42", "51", "43", "13", "11")


@dataclass(frozen=True)
class Geography:
    """Prefectures by position 0..n-1; `codes`, `latitude`, … are arrays of that length, distances are n × n kilometres."""

    codes: np.ndarray
    names: np.ndarray
    names_en: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    population: np.ndarray
    price_index: np.ndarray
    distance: np.ndarray
    adjacent: np.ndarray
    provinces: tuple[dict[str, str], ...]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def province(self) -> np.ndarray:
        """Province code of each prefecture."""
        return np.array([code[:2] + "0000" for code in self.codes], dtype=object)

    @property
    def spread_km(self) -> np.ndarray:
        """Standard deviation of where people live around the seat: a fifth of the way to the nearest other seat."""
        return 0.18 * np.where(np.eye(len(self), dtype=bool), np.inf, self.distance).min(axis=1)

    def index(self, code: str) -> int:
        found = np.flatnonzero(self.codes == code)
        if len(found) == 0:
            raise KeyError(f"region {code} is not in this world")
        return int(found[0])

    def gravity(self) -> np.ndarray:
        """Row-stochastic n × n matrix of where people of a prefecture travel to; the diagonal is zero."""
        weight = self.population[None, :] / np.maximum(self.distance, 15.0) ** 1.3
        weight = np.where(self.adjacent, weight * 1.5, weight)
        np.fill_diagonal(weight, 0.0)
        return weight / weight.sum(axis=1, keepdims=True)

    def region_of(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Position of the prefecture whose seat is nearest to each point."""
        nearest = np.zeros(len(latitude), dtype=np.int64)
        for start in range(0, len(latitude), 100_000):  # bounds memory at a hundred thousand by n
            part = slice(start, start + 100_000)
            dy = latitude[part, None] - self.latitude[None, :]
            dx = (longitude[part, None] - self.longitude[None, :]) * np.cos(np.radians(self.latitude))[None, :]
            nearest[part] = np.argmin(dx * dx + dy * dy, axis=1)
        return nearest


def kilometres(lat1: np.ndarray, lon1: np.ndarray, lat2: np.ndarray, lon2: np.ndarray) -> np.ndarray:
    """Great-circle distance (haversine, sphere of 6,371 km)."""
    a1, a2 = np.radians(lat1), np.radians(lat2)
    half = np.sin((a2 - a1) / 2) ** 2 + np.cos(a1) * np.cos(a2) * np.sin(np.radians(lon2 - lon1) / 2) ** 2
    return 2 * 6371.0 * np.arcsin(np.sqrt(half))


def _read(name: str) -> list[dict[str, str]]:
    text = files("fangcuan.simulate").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def load(provinces: int = 12) -> Geography:
    """The first `provinces` provinces (contiguous ones first) with all their prefectures."""
    rows = _read("regions.csv")
    chosen = _PROVINCE_ORDER[:provinces]
    rows = [row for row in rows if row["region_code"][:2] in chosen]
    prefectures = [row for row in rows if not row["region_code"].endswith("0000")]
    codes = [row["region_code"] for row in prefectures]
    latitude, longitude, population, price_index = (
        np.array([float(row[name]) for row in prefectures])
        for name in ("latitude", "longitude", "population_m", "price_index")
    )
    distance = kilometres(latitude[:, None], longitude[:, None], latitude[None, :], longitude[None, :])
    position = {code: at for at, code in enumerate(codes)}
    adjacent = np.zeros((len(codes), len(codes)), dtype=bool)
    for row in _read("neighbours.csv"):
        for other in row["neighbours"].split():
            if row["region_code"] in position and other in position:
                here, there = position[row["region_code"]], position[other]
                adjacent[here, there] = adjacent[there, here] = True
    return Geography(
        codes=np.array(codes, dtype=object),
        names=np.array([row["name_zh"] for row in prefectures], dtype=object),
        names_en=np.array([row["name_en"] for row in prefectures], dtype=object),
        latitude=latitude,
        longitude=longitude,
        population=population,
        price_index=price_index,
        distance=distance,
        adjacent=adjacent,
        provinces=tuple(row for row in rows if row["region_code"].endswith("0000")),
    )
