"""What a world is made from: sizes, dates, rates, and which schemes are planted in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fangcuan.simulate import families
from fangcuan.simulate.families import Planting

#: Every kind of scheme the simulator can plant, by family.
KINDS: dict[str, tuple[str, ...]] = {
    "diversion": (
        "neighbour_cartons",
        "long_haul",
        "broker",
        "quarter_end_dump",
        "slow_drip",
        "tier2_leak",
        "online_supply",
    ),
    "code_integrity": ("never_issued", "cloned_serial", "reappeared"),
    "price": (
        "below_floor",
        "region_targeted",
        "coupon_hidden",
        "bundle_hidden",
        "above_ceiling",
        "online_offline_gap",
    ),
    "loading": ("period_end_bulge", "grey_inflow"),
}

SAMPLE_SCHEMES: dict[str, int] = {
    "diversion.neighbour_cartons": 2,
    "diversion.long_haul": 2,
    "diversion.broker": 1,
    "diversion.quarter_end_dump": 2,
    "diversion.slow_drip": 1,
    "diversion.tier2_leak": 1,
    "diversion.online_supply": 2,
    "code_integrity.never_issued": 2,
    "code_integrity.cloned_serial": 3,
    "code_integrity.reappeared": 2,
    "price.below_floor": 4,
    "price.region_targeted": 1,
    "price.coupon_hidden": 2,
    "price.bundle_hidden": 2,
    "price.above_ceiling": 2,
    "price.online_offline_gap": 1,
    "loading.period_end_bulge": 2,
    "loading.grey_inflow": 2,
}


def every_kind() -> list[str]:
    return [f"{family}.{kind}" for family, kinds in KINDS.items() for kind in kinds]


@dataclass(frozen=True)
class WorldSpec:
    """One world. Same spec, same bytes.

    `start` is the first night; `nights` local dates follow. Goods are traced from `trace_history_days` before `start`
    and sales are reported from `sales_history_days` before it, so the first night already has a past.
    `schemes` counts what to plant by `family.kind`; `nulls` switches the innocent flows that look suspicious.
    `plantings` are families (`simulate.families`) planted in the finished world, with size, start and strength each.
    """

    name: str = "custom"
    seed: int = 20260309
    start: dt.date = dt.date(2026, 3, 9)
    nights: int = 60
    provinces: int = 12
    dealers: int = 60
    retailers_per_dealer: int = 2
    marketplace_sellers: int = 20
    products: int = 8
    cartons_per_dealer_week: float = 7.2
    trace_history_days: int = 60
    sales_history_days: int = 182
    scan_coverage: float = 0.30
    leakage: float = 0.04
    late_share: float = 0.02
    aggregation_errors: float = 0.01
    nulls: bool = True
    schemes: Mapping[str, int] = field(default_factory=dict)
    scheme_cartons: tuple[int, int] = (22, 40)
    plantings: Mapping[str, Planting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.schemes) - set(every_kind()))
        if unknown:
            raise ValueError(f"schemes: unknown kind {unknown}; known kinds are {every_kind()}")
        for name, planting in self.plantings.items():
            families.check(name, planting)
        for name, low, high in (
            ("nights", 1, 2000),
            ("provinces", 2, 12),
            ("dealers", 4, 5000),
            ("products", 4, 8),
            ("scan_coverage", 0.0, 1.0),
            ("leakage", 0.0, 0.5),
            ("late_share", 0.0, 0.5),
            ("aggregation_errors", 0.0, 0.2),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value} is not between {low} and {high}")

    @property
    def end(self) -> dt.date:
        """Last night."""
        return self.start + dt.timedelta(days=self.nights - 1)

    @property
    def trace_start(self) -> dt.date:
        return self.start - dt.timedelta(days=self.trace_history_days)

    @property
    def sales_start(self) -> dt.date:
        return self.start - dt.timedelta(days=self.sales_history_days)

    @property
    def families(self) -> list[str]:
        planted = {kind for kind, count in self.schemes.items() if count} | set(self.plantings) & set(families.SCHEMES)
        return sorted({kind.partition(".")[0] for kind in planted})

    def rng(self, stream: str) -> np.random.Generator:
        """An independent generator per stream name: adding one part of the world does not reshuffle the others."""
        return np.random.default_rng([self.seed, zlib.crc32(stream.encode())])

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        values["start"] = self.start.isoformat()
        values["schemes"] = dict(sorted(self.schemes.items()))
        values["scheme_cartons"] = list(self.scheme_cartons)
        if not self.plantings:
            del values["plantings"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WorldSpec:
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"unknown field {unknown} of a world spec; known fields are {sorted(known)}")
        given = dict(values)
        if isinstance(given.get("start"), str):
            given["start"] = dt.date.fromisoformat(given["start"])
        if "scheme_cartons" in given:
            low, high = given["scheme_cartons"]
            given["scheme_cartons"] = (int(low), int(high))
        if "plantings" in given:
            given["plantings"] = {name: Planting(**setting) for name, setting in given["plantings"].items()}
        return cls(**given)


SAMPLE = WorldSpec(name="sample", schemes=SAMPLE_SCHEMES)

TINY = WorldSpec(
    name="tiny",
    start=dt.date(2026, 3, 30),
    nights=10,
    provinces=5,
    dealers=10,
    retailers_per_dealer=1,
    marketplace_sellers=5,
    products=4,
    cartons_per_dealer_week=3.2,
    trace_history_days=45,
    sales_history_days=91,
    scan_coverage=0.5,
    scheme_cartons=(8, 12),
    schemes={
        "diversion.neighbour_cartons": 1,
        "diversion.long_haul": 1,
        "code_integrity.never_issued": 1,
        "code_integrity.cloned_serial": 1,
        "price.below_floor": 1,
        "price.coupon_hidden": 1,
        "loading.period_end_bulge": 1,
    },
)

PRESETS: dict[str, WorldSpec] = {
    "sample": SAMPLE,
    "sample-clean": replace(SAMPLE, name="sample-clean", schemes={}),
    "tiny": TINY,
    "tiny-clean": replace(TINY, name="tiny-clean", schemes={}),
}


def preset(name: str, **changes: Any) -> WorldSpec:
    """A named world, with some fields changed: `preset("sample", seed=7, scan_coverage=0.02)`."""
    if name not in PRESETS:
        raise ValueError(f"unknown world {name!r}; known worlds are {sorted(PRESETS)}")
    return replace(PRESETS[name], **changes)


#: Schemes of a kind in a world that has nothing else, and the sizes of such a world. Ten nights of `tiny` hold too few
#: scans to show what one family does, so it runs for twenty and more consumers scan.
_ALONE = {"tiny": 1, "sample": 3}
_SIZES = {"tiny": replace(TINY, nights=20, scan_coverage=0.8, cartons_per_dealer_week=4.0), "sample": SAMPLE}


def family_preset(family: str, name: str = "tiny", **changes: Any) -> WorldSpec:
    """The sizes of `tiny` (for twenty nights, with more scans) or `sample`, ordinary travel and exactly one family.

    `family` is an innocent family or a kind of scheme. Raises ValueError for what is neither, or for another preset.
    """
    if name not in _ALONE:
        raise ValueError(f"families come in the sizes {sorted(_ALONE)}, not {name!r}")
    plantings: dict[str, Planting] = {}
    schemes: dict[str, int] = {}
    for part in dict.fromkeys(("plain", family)):
        if part in families.FAMILIES:
            plantings[part] = getattr(families.FAMILIES[part], name)
        elif part in every_kind():
            schemes[part] = _ALONE[name]
        else:
            raise ValueError(f"unknown family {part!r}; `fangcuan simulate --list` names them")
    spec = replace(
        _SIZES[name],
        name=f"{name}-{family}",
        schemes=schemes,
        nulls=False,
        plantings=plantings,
    )
    return replace(spec, **changes)


def describe_families() -> list[dict[str, str]]:
    """Every family by name: `kind` (innocent or scheme), a sentence in `zh` and `en`, and what size and strength count.

    Kinds planted while the world is made have neither; `WorldSpec.schemes` counts them.
    """
    rows = [
        {
            "family": name,
            "kind": "innocent" if name in families.NULLS else "scheme",
            "zh": family.zh,
            "en": family.en,
            "size": family.size,
            "strength": family.strength,
        }
        for name, family in families.FAMILIES.items()
    ]
    rows += [
        {"family": name, "kind": "scheme", "zh": zh, "en": en, "size": "", "strength": ""}
        for name, (zh, en) in families.SENTENCES.items()
    ]
    return rows
