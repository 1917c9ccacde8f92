"""What a world at the level of counts is made from, and the families the bench knows."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Ways to divert that a world can plant.
SCHEMES = ("whole_carton", "slow_drip", "quarter_end_dump", "splitting")
WEEKS_PER_YEAR, WEEKS_PER_QUARTER = 52, 13


@dataclass(frozen=True)
class WorldSpec:
    """One world. Same spec, same counts; every family and every purpose inside it has a random stream of its own.

    An *account* is one dealer's business in one product line. `history_weeks` come before the first judged week, so that
    rules over trailing months have a past. `coverage` is the share of sold units that a consumer scans, `leakage` the
    mean share that innocently ends up outside the territory, gamma-distributed over dealers with `leakage_shape`. The
    nulls are off at their defaults: `hub_share` of dealers leak `hub_factor` times as much; `corridors` is the number of
    pairs of regions with migrants between them; `redrawn_share` of dealers got another region that nobody loaded;
    `campaign_factor` multiplies scanning for six weeks in a third of the regions; `misshipped_per_year` pallets per
    account; `online_cartons_per_week` whole cartons per account sent to single buyers; `drift` is the factor that leakage
    of a third of the accounts grows by; `tour_shape` is the gamma shape of a factor per account and week (small: many
    units on few days). `diverting` is the share of dealers that divert once, by one of `kinds`, `scheme_size` scales what
    they divert, `stealth` bounds the share of codes they destroy.
    """

    family: str = "plain"
    seed: int = 1
    dealers: int = 3_000
    lines: int = 2
    regions: int = 300
    years: int = 1
    history_weeks: int = 26
    coverage: float = 0.02
    units_per_carton: int = 24
    cartons_per_week: float = 12.0
    leakage: float = 0.03
    leakage_shape: float = 2.0
    hub_share: float = 0.0
    hub_factor: float = 5.0
    holiday_factor: float = 1.0
    corridors: int = 0
    redrawn_share: float = 0.0
    campaign_factor: float = 1.0
    misshipped_per_year: float = 0.0
    online_cartons_per_week: float = 0.0
    drift: float = 1.0
    tour_shape: float = 0.0
    diverting: float = 0.0
    kinds: tuple[str, ...] = ()
    scheme_size: float = 1.0
    stealth: tuple[float, float] = (0.0, 0.3)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(SCHEMES))
        if unknown:
            raise ValueError(f"kinds: unknown {unknown}; known kinds are {list(SCHEMES)}")
        if bool(self.kinds) != bool(self.diverting):
            raise ValueError("diverting and kinds: a world with schemes needs both, one without them neither")
        for name, low, high in (
            ("dealers", 10, 20_000),
            ("lines", 1, 5),
            ("regions", 10, 1_000),
            ("years", 1, 50),
            ("history_weeks", 26, 104),
            ("coverage", 0.001, 0.2),
            ("leakage", 0.0, 0.2),
            ("diverting", 0.0, 0.5),
            ("campaign_factor", 1.0, 5.0),
            ("drift", 1.0, 10.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value} is not between {low} and {high}")

    @property
    def weeks(self) -> int:
        """Weeks in all: the history, then whole years."""
        return self.history_weeks + WEEKS_PER_YEAR * self.years

    def rng(self, purpose: str) -> np.random.Generator:
        """A random stream of its own for a purpose in a family: what one draws never moves another."""
        words = [self.seed, zlib.crc32(self.family.encode()), zlib.crc32(purpose.encode())]
        return np.random.default_rng(np.random.SeedSequence(words))


_DIVERTING: dict[str, Any] = {"diverting": 0.03}
#: Worlds without any scheme: whatever is filed there is false.
NULLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "holiday": {"holiday_factor": 4.0},
    "hubs": {"hub_share": 0.05},
    "migrant_corridor": {"corridors": 12},
    "territory_redraw": {"redrawn_share": 0.01},
    "scan_campaign": {"campaign_factor": 3.0},
    "misshipments": {"misshipped_per_year": 0.03},
    "online_bulk": {"online_cartons_per_week": 0.15},
    "drift": {"drift": 3.0},
    "bus_tours": {"tour_shape": 0.15},
}
#: Worlds in which 3 % of the dealers divert; in `mixed` every innocent flow is there as well.
DIVERTING: dict[str, dict[str, Any]] = {
    **{kind: {**_DIVERTING, "kinds": (kind,)} for kind in SCHEMES},
    "with_hubs": {**_DIVERTING, "kinds": SCHEMES, "hub_share": 0.05},
    "mixed": {
        **_DIVERTING,
        "kinds": SCHEMES,
        "hub_share": 0.05,
        "holiday_factor": 2.5,
        "corridors": 6,
        "campaign_factor": 2.0,
        "misshipped_per_year": 0.01,
        "online_cartons_per_week": 0.05,
        "drift": 1.5,
        "tour_shape": 0.5,
    },
}
FAMILIES = {**NULLS, **DIVERTING}
#: What thresholds may be chosen on; every other family is only reported.
TUNING = frozenset({"plain", "whole_carton"})


def family(name: str, **changes: Any) -> WorldSpec:
    """The spec of a family, with changes. Raises ValueError for a name that is none."""
    if name not in FAMILIES:
        raise ValueError(f"no family {name!r}; there are {', '.join(FAMILIES)}")
    return dataclasses.replace(WorldSpec(family=name, **FAMILIES[name]), **changes)
