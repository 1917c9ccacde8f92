"""Who does what, decided before any goods move: the schemes and the partners whose innocent habits look like schemes."""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass, field

import numpy as np

from fangcuan.simulate.clock import day_number
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.network import Network
from fangcuan.simulate.spec import WorldSpec

#: Days before the end of a period in which a quarter-end rush happens.
RUSH_DAYS = 9


@dataclass
class Scheme:
    """One planted scheme. Positions refer to the network, the catalogue and the geography; -1 is "none".

    `first_day` and `last_day` are day numbers of the shipments or offers concerned; `stealth` is the share of codes that
    were destroyed or, for prices, the share of nights the offer hides. The lists at the end are filled while planting.
    """

    scheme_id: str
    family: str
    kind: str
    partner: int
    first_day: int
    last_day: int
    accomplices: tuple[int, ...] = ()
    victim: int = -1
    region: int = -1
    seller: int = -1
    sku: int = -1
    line: str = ""
    cartons: int = 0
    stealth: float = 0.0
    linked: str = ""
    platform: str = ""
    subject: str = ""
    units: int = 0
    money: float = 0.0
    epcs: list[str] = field(default_factory=list)

    @property
    def culprits(self) -> tuple[int, ...]:
        return (self.partner, *self.accomplices)


@dataclass(frozen=True)
class Habits:
    """Dealers (positions) with innocent flows out of their territory."""

    hubs: dict[int, float]
    corridors: dict[int, int]
    border: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    schemes: list[Scheme]
    habits: Habits
    quiet: np.ndarray
    period_end: int

    def of(self, *kinds: str) -> list[Scheme]:
        return [scheme for scheme in self.schemes if scheme.kind in kinds]


def period_end(spec: WorldSpec) -> int:
    """Day number of the quarter's end that the world contains, or of the last month's end when it contains none."""
    days = [spec.start + dt.timedelta(days=at) for at in range(-20, spec.nights)]
    ends = [day for day in days if day.day == calendar.monthrange(day.year, day.month)[1]]
    quarters = [day for day in ends if day.month % 3 == 0]
    chosen = quarters or ends or [spec.end]
    return day_number(chosen[0])


def make(spec: WorldSpec, geo: Geography, net: Network) -> Plan:
    rng = spec.rng("plan")
    pool = rng.permutation(net.dealers)
    culprits = [int(at) for at in pool[: len(pool) * 2 // 5]]
    quiet = np.sort(pool[len(culprits) :])
    planner = _Planner(spec, geo, net, culprits)
    for kind, count in spec.schemes.items():
        for _ in range(count):
            planner.plant(kind)
    return Plan(planner.schemes, _habits(spec, geo, net, quiet), quiet, period_end(spec))


def _habits(spec: WorldSpec, geo: Geography, net: Network, quiet: np.ndarray) -> Habits:
    if not spec.nulls:
        return Habits({}, {}, ())
    rng = spec.rng("habits")
    order = rng.permutation(quiet)
    count = max(1, len(quiet) // 7)
    hubs = {int(at): float(rng.uniform(0.05, 0.15)) for at in order[:count]}
    corridors: dict[int, int] = {}
    for at in order[count : count + max(1, count // 2)]:
        reach = np.where(geo.distance[net.region[at]] > 120, geo.population * geo.price_index, 0)
        if reach.sum() == 0:
            continue
        corridors[int(at)] = int(rng.choice(len(geo), p=reach / reach.sum()))
    rest = [int(at) for at in order[count + len(corridors) :] if geo.adjacent[net.region[at]].any()]
    return Habits(hubs, corridors, tuple(rest[: max(1, len(quiet) // 5)]))


class _Planner:
    def __init__(self, spec: WorldSpec, geo: Geography, net: Network, culprits: list[int]) -> None:
        self.spec, self.geo, self.net = spec, geo, net
        self.rng = spec.rng("schemes")
        self.waiting = list(culprits)
        self.all_culprits = list(culprits)
        self.sellers = [int(at) for at in self.rng.permutation(net.sellers)]
        self.taken_sellers = 0
        self.schemes: list[Scheme] = []

    def plant(self, name: str) -> None:
        family, _, kind = name.partition(".")
        number = len(self.schemes) + 1
        first, last = self._window()
        scheme = Scheme(f"S{number:03d}", family, kind, -1, first, last)
        scheme.stealth = float(self.rng.choice([0.0, 0.0, 0.15, 0.3]))
        getattr(self, f"_{family}")(scheme)
        self.schemes.append(scheme)
        if kind == "online_supply":
            self._offer_for(scheme)

    def _offer_for(self, supply: Scheme) -> None:
        """The listing through which a marketplace seller gets rid of a dealer's cartons: a price scheme of its own."""
        start, end = day_number(self.spec.start), day_number(self.spec.end)
        first = max(start, supply.first_day + 6)
        number = f"S{len(self.schemes) + 1:03d}"
        offer = Scheme(
            number, "price", "below_floor", supply.seller, first, min(end, max(first + 8, supply.last_day + 20))
        )
        offer.seller, offer.platform, offer.line = supply.seller, supply.platform, supply.line
        offer.sku = next(at for at, product in enumerate(self.net.products) if product.line == supply.line)
        offer.linked, supply.linked = supply.scheme_id, number
        self.schemes.append(offer)

    def _window(self) -> tuple[int, int]:
        start, end = day_number(self.spec.start), day_number(self.spec.end)
        # Consumers scan weeks after the goods leave, so schemes of a short world begin well before its first night.
        earlier = max(0, int((30 - self.spec.nights) * 0.6))
        first = start - int(self.rng.integers(8, 26)) - earlier
        first = max(first, day_number(self.spec.trace_start) + 8)
        return first, min(first + int(self.rng.integers(22, 41)) - earlier, end - 2)

    def _culprit(self) -> int:
        """The next unused dealer; when all are used, one of them again."""
        if self.waiting:
            return self.waiting.pop(0)
        return int(self.rng.choice(self.all_culprits))

    def _seller(self) -> int:
        seller = self.sellers[self.taken_sellers % len(self.sellers)]
        self.taken_sellers += 1
        return seller

    def _pick_line(self, partner: int) -> str:
        lines = {self.net.products[at].line for at in self.net.product_group(partner)}
        # Nobody drives a lorry across a province for herbal tea.
        return str(self.rng.choice(sorted(lines - {"herbal_drink"})))

    def _diversion(self, scheme: Scheme) -> None:
        geo, rng = self.geo, self.rng
        scheme.partner = self._culprit()
        if scheme.kind == "neighbour_cartons":
            scheme.partner = self._with_neighbour(scheme.partner)
        home = int(self.net.region[scheme.partner])
        scheme.line = self._pick_line(scheme.partner)
        scheme.cartons = int(rng.integers(*self.spec.scheme_cartons))
        if scheme.kind == "neighbour_cartons":
            options = np.flatnonzero(geo.adjacent[home])
            scheme.region = int(rng.choice(options if len(options) else np.argsort(geo.distance[home])[1:3]))
        elif scheme.kind in {"long_haul", "broker", "quarter_end_dump", "tier2_leak", "slow_drip"}:
            scheme.region = self._rich_and_far(home, 350 if scheme.kind in {"long_haul", "broker"} else 120)
        if scheme.kind == "broker":
            others = [self._culprit(), self._culprit()]
            scheme.accomplices = tuple(at for at in dict.fromkeys(others) if at != scheme.partner)
            lines = {self.net.products[at].line for member in scheme.culprits for at in self.net.product_group(member)}
            shared = [
                line
                for line in sorted(lines)
                if all(
                    line in {self.net.products[at].line for at in self.net.product_group(member)}
                    for member in scheme.culprits
                )
            ]
            scheme.line = str(rng.choice(shared)) if shared else scheme.line
            scheme.cartons = int(scheme.cartons * 1.5)
        elif scheme.kind == "quarter_end_dump":
            end = period_end(self.spec)
            scheme.first_day, scheme.last_day = end - RUSH_DAYS + 1, end
        elif scheme.kind == "slow_drip":
            scheme.first_day = max(day_number(self.spec.trace_start) + 8, day_number(self.spec.start) - 40)
            scheme.last_day = day_number(self.spec.end) - 8
        elif scheme.kind == "tier2_leak":
            children = self.net.children(scheme.partner, "retailer")
            if len(children):
                scheme.accomplices = (scheme.partner,)
                scheme.partner = int(children[0])
        elif scheme.kind == "online_supply":
            scheme.seller = self._seller()
            scheme.platform = str(self.net.partners["platform"].iat[scheme.seller])
        scheme.victim = self._holder(scheme.region, scheme.line)

    def _with_neighbour(self, partner: int) -> int:
        """A culprit whose home borders another prefecture of this world; the first choice goes back to the queue."""
        if self.geo.adjacent[self.net.region[partner]].any():
            return partner
        for other in self.waiting:
            if self.geo.adjacent[self.net.region[other]].any():
                self.waiting.remove(other)
                self.waiting.append(partner)
                return other
        return partner

    def _rich_and_far(self, home: int, least_km: float) -> int:
        """A dear region at least so far away."""
        geo = self.geo
        far = geo.distance[home] >= least_km
        if not far.any():
            far = geo.distance[home] >= np.sort(geo.distance[home])[len(geo) // 2]
        weight = np.where(far, np.maximum(geo.price_index - geo.price_index[home] + 0.05, 0.005) ** 2, 0)
        return int(self.rng.choice(len(geo), p=weight / weight.sum()))

    def _holder(self, region: int, line: str) -> int:
        """Dealer who holds the region for the line, or -1 where the region is blank."""
        if region < 0:
            return -1
        for dealer in self.net.dealers:
            lines = {self.net.products[at].line for at in self.net.product_group(int(dealer))}
            if self.net.region[dealer] == region and line in lines:
                return int(dealer)
        return -1

    def _code_integrity(self, scheme: Scheme) -> None:
        scheme.sku = int(self.rng.integers(len(self.net.products)))
        scheme.line = self.net.products[scheme.sku].line
        scheme.region = int(self.rng.choice(len(self.geo), p=self.geo.population / self.geo.population.sum()))
        scheme.victim = self._holder(scheme.region, scheme.line)
        scheme.stealth = 0.0

    def _price(self, scheme: Scheme) -> None:
        scheme.seller = self._seller()
        scheme.platform = str(self.net.partners["platform"].iat[scheme.seller])
        scheme.partner = scheme.seller
        start, end = day_number(self.spec.start), day_number(self.spec.end)
        room = max(1, self.spec.nights * 2 // 3)
        scheme.first_day = start + int(self.rng.integers(0, room))
        scheme.last_day = min(end, scheme.first_day + int(self.rng.integers(8, 25)))
        scheme.sku = int(self.rng.integers(len(self.net.products)))
        scheme.line = self.net.products[scheme.sku].line
        if scheme.kind in {"region_targeted", "online_offline_gap"}:
            scheme.region = int(self.rng.choice(self.net.region[self.net.dealers]))
        scheme.stealth = float(self.rng.choice([0.0, 0.0, 0.2]))

    def _loading(self, scheme: Scheme) -> None:
        scheme.partner = self._culprit()
        scheme.line = self._pick_line(scheme.partner)
        scheme.cartons = int(self.rng.integers(*self.spec.scheme_cartons))
        scheme.region = int(self.net.region[scheme.partner])
        scheme.stealth = 0.0
        if scheme.kind == "period_end_bulge":
            end = period_end(self.spec)
            scheme.first_day, scheme.last_day = end - RUSH_DAYS + 1, end
