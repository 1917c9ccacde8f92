"""What a detector is given and gives back: everything that had arrived by a week, and the units it files."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fangcuan.quality.network import Floats, Ints

#: Destination of a filing that speaks of an account without saying where its goods went.
ANYWHERE = -1


@dataclass(frozen=True)
class Sightings:
    """Units scanned outside the account's territory as the master data know it, one per row, in the order of arrival.

    `week` is when it was scanned, `arrival` when it became known. `carton`, `device` are opaque numbers; `lot` and
    `ship_week` are those of the carton.
    """

    account: Ints
    destination: Ints
    week: Ints
    arrival: Ints
    carton: Ints
    device: Ints
    ship_week: Ints
    lot: Ints

    def __len__(self) -> int:
        return len(self.account)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Sightings:
        return Sightings(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True)
class Arrived:
    """The world as it was known at the end of `week`; later rows are not in it.

    Per account: dealer, line, home (region). `own` (accounts × weeks so far): scans inside the territory by the week of the
    scan, late ones missing. `orders` (cartons) likewise; `targets` (cartons, accounts × quarters begun). `holidays` per week is
    the public calendar. `places` (regions × 2, kilometres), `population` per region, `margin` yuan per unit of a line.
    """

    week: int
    dealer: Ints
    line: Ints
    home: Ints
    own: Ints
    foreign: Sightings
    orders: Ints
    targets: Ints
    holidays: NDArray[np.bool_]
    places: Floats
    population: Floats
    margin: Floats

    @property
    def accounts(self) -> int:
        return len(self.dealer)


@dataclass(frozen=True)
class Filed:
    """What a detector would file now: account, destination (or ANYWHERE) and score (higher is more urgent), one per row.

    What is still true next week may be filed again; it is the same case until its quarter is over.
    """

    account: Ints
    destination: Ints
    score: Floats

    @classmethod
    def of_accounts(cls, chosen: NDArray[np.bool_], score: Floats | Ints) -> Filed:
        """Accounts as a whole, where `chosen` (one per account) holds."""
        account = np.flatnonzero(chosen)
        return cls(account, np.full(len(account), ANYWHERE), np.asarray(score, dtype=np.float64)[account])

    @classmethod
    def nothing(cls) -> Filed:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


class Detector(Protocol):
    """Asked once a week in the order of weeks, by one world only: it may remember what it was told."""

    def __call__(self, arrived: Arrived, /) -> Filed: ...
