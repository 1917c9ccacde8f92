"""A world: made from a spec, written as a folder of master data, feeds by night, and truth kept apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path

import pandas as pd

from fangcuan import __version__
from fangcuan.simulate import (
    arrivals,
    diversion,
    field,
    geography,
    goods,
    innocent,
    integrity,
    masters,
    network,
    plan,
    planting,
    policies,
    prices,
    sales,
    scans,
    trace,
    truth,
    units,
    writing,
)
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.spec import WorldSpec

Progress = Callable[[str], None]


@dataclass(frozen=True)
class WorldSummary:
    """What was written: rows by master table and by feed, and planted schemes by `family.kind`."""

    folder: Path
    masters: dict[str, int]
    feeds: dict[str, int]
    schemes: dict[str, int]
    first_night: str
    last_night: str


@dataclass
class World:
    """A simulated world in memory. Every attribute is made once, from `spec` alone, when the world is made."""

    spec: WorldSpec
    progress: Progress = attribute(default=lambda message: None, repr=False)

    def __post_init__(self) -> None:
        spec = self.spec
        self.progress("partners and plan")
        self.geo = geography.load(spec.provinces)
        self.net = network.build(spec, self.geo)
        self.plan = plan.make(spec, self.geo, self.net)
        self.ledger = Ledger()
        self.progress("goods")
        lines = goods.order_lines(spec, self.geo, self.net, self.plan)
        self.goods = goods.pack(spec, self.geo, self.net, self.plan, lines)
        diversion.divert(spec, self.geo, self.net, self.plan, self.goods)
        innocent.move_innocently(spec, self.geo, self.net, self.plan, self.goods, self.ledger)
        units.return_goods(spec, self.net, self.plan, self.goods, self.ledger)
        self.units = units.expand(spec, self.net, self.goods, self.ledger)
        self.progress("scans")
        self.scans = scans.scan(spec, self.geo, self.net, self.plan, self.goods, self.units, self.ledger)
        integrity.forge(spec, self.geo, self.net, self.plan, self.goods, self.units, self.scans)
        self.progress("trace events")
        events = trace.events(spec, self.geo, self.net, self.goods, self.units, self.scans)
        self.field = field.look(spec, self.geo, self.net, self.plan, self.goods, self.units)
        self.trace = arrivals.deliver(spec, self.net, trace.append(spec, events, self.field.trace), self.ledger)
        self.progress("sales")
        self.sales = sales.build(spec, self.geo, self.net, self.plan, self.goods)
        self.progress("prices")
        self.policies = policies.make(spec, self.geo, self.net)
        self.prices = prices.observe(spec, self.geo, self.net, self.plan, self.policies, self.ledger)
        self.masters = masters.build(spec, self.geo, self.net, self.plan, self.ledger)
        self.masters |= policies.tables(spec, self.net, self.policies)
        self.touched = pd.DataFrame()
        if spec.plantings:
            self.progress("plantings")
            planting.plant(self)
        self.truth: dict[str, pd.DataFrame] = {
            "schemes": truth.schemes(self.geo, self.net, self.plan, self.goods, self.units, self.scans),
            "units": truth.unit_links(self.plan, self.goods, self.units),
            "flows": truth.flows(self.geo, self.net, self.plan, self.goods, self.ledger),
            "prices": self.prices.truth,
            "innocents": truth.innocents(self.ledger),
        }
        if spec.plantings:
            self.truth["touched"] = self.touched

    def write(self, folder: Path) -> WorldSummary:
        """Write the folder; parts of an earlier world in it are removed first, anything else is an error."""
        _clear(folder)
        self.progress("writing")
        writing.write_masters(folder, self.masters)
        feeds = {
            "trace_events": writing.write_trace(folder, self.trace, trace.COLUMNS),
            "price_observations": writing.write_nightly_jsonl(folder, "price_observations", self.prices.rows),
            "sales": writing.write_nightly_csv(folder, "sales", self.sales, sales.COLUMNS),
            "inspections": writing.write_nightly_csv(
                folder, "inspections", self.field.inspections, field.INSPECTION_COLUMNS
            ),
            "documents": writing.write_nightly_csv(folder, "documents", self.field.documents, field.DOCUMENT_COLUMNS),
        }
        truth.write(folder, self.spec, self.truth)
        summary = WorldSummary(
            folder=folder,
            masters={name: len(frame) for name, frame in sorted(self.masters.items())},
            feeds=feeds,
            schemes=self._planted(),
            first_night=self.spec.start.isoformat(),
            last_night=self.spec.end.isoformat(),
        )
        writing.write_json(
            folder / "world.json",
            {
                "name": self.spec.name,
                "software": f"fangcuan {__version__}",
                "seed": self.spec.seed,
                "first_night": summary.first_night,
                "last_night": summary.last_night,
                "families": self.spec.families,
                "masters": summary.masters,
                "feeds": summary.feeds,
            },
        )
        return summary

    def _planted(self) -> dict[str, int]:
        planted = {kind: count for kind, count in self.spec.schemes.items() if count}
        for scheme in self.plan.schemes:
            name = f"{scheme.family}.{scheme.kind}"
            if name in self.spec.plantings:
                planted[name] = planted.get(name, 0) + 1
        return dict(sorted(planted.items()))


def simulate(spec: WorldSpec, out: Path, progress: Progress | None = None) -> WorldSummary:
    """Make the world of `spec` and write it to the folder `out`; `progress` is told what is being done."""
    return World(spec, progress or (lambda message: None)).write(Path(out))


def _clear(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [item.name for item in folder.iterdir() if item.name not in {"master", "feeds", "truth", "world.json"}]
    if strangers:
        raise FileExistsError(
            f"{folder} holds {sorted(strangers)}; a world is written to an empty folder or over a world"
        )
    for name in ("master", "feeds", "truth"):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
