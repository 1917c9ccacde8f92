"""Plants the families of a spec in a finished world, one after the other, each from a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fangcuan.simulate import covert, detours, offers, travel
from fangcuan.simulate.families import FAMILIES, Planting
from fangcuan.simulate.revision import Revision

if TYPE_CHECKING:
    from fangcuan.simulate.worlds import World

PLANTERS: dict[str, Callable[[Revision, Planting, np.random.Generator], None]] = {
    "plain": travel.plain,
    "holiday": travel.holiday,
    "hubs": travel.hubs,
    "migrant_corridor": travel.migrant_corridor,
    "redraw_not_loaded": detours.redraw_not_loaded,
    "scan_campaign": travel.scan_campaign,
    "mis_shipments": detours.mis_shipments,
    "online_bulk": detours.online_bulk,
    "drift": travel.drift,
    "scraper_redesign": offers.scraper_redesign,
    "tax_change": offers.tax_change,
    "new_platform": offers.new_platform,
    "diversion.carton_splitting": covert.carton_splitting,
    "diversion.swap": covert.swap,
    "diversion.fake_own_scans": covert.fake_own_scans,
    "diversion.logistics_reroute": covert.logistics_reroute,
    "price.night_offer": offers.night_offer,
    "price.flood": offers.flood,
}


def plant(world: World) -> None:
    """Change the feeds, the master data and the truth of `world` in place, and note the rows in `world.touched`.

    Families follow each other in the order of `FAMILIES`, whatever the order in the spec.
    """
    revision = Revision(world)
    for name in FAMILIES:
        if name in world.spec.plantings:
            PLANTERS[name](revision, world.spec.plantings[name], world.spec.rng(f"planting {name}"))
    revision.close()
