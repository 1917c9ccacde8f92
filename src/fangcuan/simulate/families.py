"""Families that can be planted in a finished world, one at a time: what looks suspicious and is innocent, and what is not.

A family has a size, a start and a strength. It changes rows that nobody else changed and leaves every other row of the
world as it was, so two worlds with and without it differ by the family alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planting:
    """`size` is how much is concerned, `start` days after the first night (negative: before), `strength` how marked it is.

    What size and strength count differs by family: see `Family`.
    """

    size: float
    start: int
    strength: float


@dataclass(frozen=True)
class Family:
    """`size` and `strength` say what they count; `most` is the largest size, `range` of what strength may be.

    `tiny` and `sample` are the settings of the presets.
    """

    zh: str
    en: str
    size: str
    strength: str
    tiny: Planting
    sample: Planting
    range: tuple[float, float] = (0.0, 1.0)
    most: float = 100_000


_P = Planting

#: Innocent families, in the order in which they are applied: ordinary travel first, since the others rest on it.
NULLS: dict[str, Family] = {
    "plain": Family(
        "平常的旅行：一小部分消费者在外地扫码，没有别的异常。",
        "Ordinary travel: a few consumers scan away from home, and nothing else happens.",
        "share of dealers whose consumers travel",
        "share of their scans made elsewhere",
        _P(1.0, -400, 0.04),
        _P(1.0, -400, 0.04),
        (0.0, 0.5),
        1.0,
    ),
    "holiday": Family(
        "日历里没有的出行高峰：几天之内各地的消费者都在外地扫码。",
        "A wave of travel that is not in the calendar: for some days consumers everywhere scan away from home.",
        "days",
        "share of the scans of those days made elsewhere",
        _P(3, 9, 0.35),
        _P(5, 30, 0.30),
    ),
    "hubs": Family(
        "枢纽经销商：少数无辜经销商的外地扫码是别人的五到十倍，去向分散。",
        "Hub dealers: a few innocent dealers have five to ten times the foreign scans of others, spread over many places.",
        "dealers",
        "multiple of ordinary travel",
        _P(2, -400, 8.0),
        _P(4, -400, 7.0),
        (1.0, 20.0),
    ),
    "migrant_corridor": Family(
        "务工走廊：某地消费者固定往返于同一个远方城市。",
        "A migrant corridor: consumers of one prefecture travel to the same far city all the year.",
        "dealers",
        "share of their scans made in that city",
        _P(2, -400, 0.2),
        _P(3, -400, 0.15),
    ),
    "redraw_not_loaded": Family(
        "区域调整未录入：经销商已获得邻近地市，主数据里却没有。",
        "A territory re-draw that was not loaded: a dealer holds a neighbouring prefecture and the master data do not say so.",
        "dealers",
        "share of their cartons sold there",
        _P(2, -30, 0.5),
        _P(4, -40, 0.4),
    ),
    "scan_campaign": Family(
        "扫码红包活动：十二天内某地几乎人人扫码。",
        "A scan campaign: for twelve days many consumers of a region scan units they would never have scanned.",
        "regions",
        "share of unscanned units that are scanned",
        _P(2, -6, 0.6),
        _P(4, 20, 0.5),
    ),
    "mis_shipments": Family(
        "错发：整单货卸在了另一家经销商处并在那里售出，单据仍写原收货人。",
        "Mis-shipments: whole deliveries are unloaded at another dealer and sold there; the papers name the first one.",
        "deliveries",
        "share of these deliveries the wrong receiver books in",
        _P(3, -35, 0.5),
        _P(6, -40, 0.5),
    ),
    "online_bulk": Family(
        "线上整箱团购：官方电商仓把许多整箱发往同一个城市。",
        "Online bulk orders: official online stock is shipped by the carton to one city.",
        "cartons",
        "share of the units scanned with the phone of one buyer",
        _P(12, -45, 0.6),
        _P(40, -50, 0.6),
    ),
    "drift": Family(
        "缓慢漂移：外地扫码比例逐日上升，没有任何窜货。",
        "Slow drift: the share of scans made elsewhere rises day by day, and nobody diverts.",
        "share of dealers",
        "share of scans elsewhere on the last night, beyond ordinary travel",
        _P(1.0, -12, 0.25),
        _P(1.0, -20, 0.15),
        (0.0, 0.5),
        1.0,
    ),
    "scraper_redesign": Family(
        "网页改版：抓取程序把分期价（十二分之一）读成售价。",
        "A redesigned page: the scraper reads the monthly instalment (a twelfth) as the price.",
        "nights",
        "share of the platform's looks misread",
        _P(3, 4, 0.6),
        _P(4, 25, 0.5),
    ),
    "tax_change": Family(
        "税率调整：增值税率下降，部分商家随之降价，价格政策尚未修订。",
        "A tax change: value added tax falls, some sellers pass it on, and the price policies are not yet revised.",
        "share of sellers who pass it on",
        "the new rate",
        _P(0.8, 4, 0.09),
        _P(0.7, 25, 0.09),
        (0.0, 0.13),
        1.0,
    ),
    "new_platform": Family(
        "新平台：开始抓取一个新平台，商家未知，头一周常读错件数。",
        "A new platform: its sellers are unknown to the brand, and packs are often misread in its first week.",
        "sellers",
        "share of looks misread in the first week",
        _P(4, 3, 0.2),
        _P(8, 20, 0.2),
    ),
}

#: Schemes planted in a finished world; strength is stealth, from open (0) to well hidden (1).
SCHEMES: dict[str, Family] = {
    "diversion.carton_splitting": Family(
        "拆箱窜货：每箱只抽出少数几瓶运往外地，避免整箱聚集。",
        "Carton splitting: a few units of each carton go elsewhere, so that no carton shows up as a whole.",
        "cartons opened",
        "share of each carton left at home",
        _P(24, -40, 0.5),
        _P(60, -40, 0.6),
        (0.0, 0.9),
    ),
    "diversion.swap": Family(
        "互换窜货：两家经销商互卖对方区域，进销数量看似平衡。",
        "A swap: two dealers sell in each other's territory, so that both ledgers seem to balance.",
        "cartons each way",
        "share of codes destroyed",
        _P(8, -40, 0.0),
        _P(25, -40, 0.1),
        (0.0, 0.9),
    ),
    "diversion.fake_own_scans": Family(
        "自扫掩护：窜货前先用少数手机在本地扫码，冒充本地消费。",
        "Fake own scans: before cartons leave, some of their units are scanned at home with a few phones.",
        "cartons",
        "share of the units scanned at home first",
        _P(8, -40, 0.5),
        _P(30, -40, 0.5),
    ),
    "diversion.logistics_reroute": Family(
        "改道直发：货从总经销仓库直接运往外地，未进本地仓库，收货记录缺失。",
        "A logistics re-route: the lorry goes straight elsewhere, and the dealer it was booked for never receives it.",
        "cartons",
        "share of receipts booked all the same",
        _P(8, -40, 0.2),
        _P(30, -40, 0.3),
    ),
    "price.night_offer": Family(
        "夜间低价：只在夜里破价，白天恢复原价。",
        "A night offer: below the floor in the evening, ordinary by day.",
        "listings",
        "share of evenings it is not offered",
        _P(2, 3, 0.2),
        _P(3, 10, 0.2),
        (0.0, 0.9),
    ),
    "price.flood": Family(
        "未授权商家涌入：许多身份不明的商家同时低价销售同一产品。",
        "An unauthorised flood: many unknown sellers offer one product below the floor at once.",
        "sellers",
        "share of nights each is not offering",
        _P(4, 3, 0.2),
        _P(10, 15, 0.2),
        (0.0, 0.9),
    ),
}

FAMILIES: dict[str, Family] = {**NULLS, **SCHEMES}

#: A sentence for each kind that is planted while the world is made (counted by `WorldSpec.schemes`).
SENTENCES: dict[str, tuple[str, str]] = {
    "diversion.neighbour_cartons": (
        "整箱窜往邻市。",
        "Whole cartons go to a neighbouring prefecture.",
    ),
    "diversion.long_haul": ("整箱远运高价城市。", "Whole cartons go a long way to a high-price city."),
    "diversion.broker": (
        "中间商汇集三家经销商的货运往同一地。",
        "A broker mixes the cartons of three dealers for one destination.",
    ),
    "diversion.quarter_end_dump": (
        "季末为返利进货后外抛。",
        "Goods bought for a quarter's rebate are dumped elsewhere at its end.",
    ),
    "diversion.slow_drip": ("细水长流：每周少量外流。", "A slow drip: a few cartons every week over the whole period."),
    "diversion.tier2_leak": ("二批商外流。", "A dealer's retailer lets the cartons out."),
    "diversion.online_supply": ("暗供网店低价销售。", "A marketplace seller is supplied and sells below the floor."),
    "code_integrity.never_issued": ("从未签发的码。", "Well-formed serials that were never issued."),
    "code_integrity.cloned_serial": ("一码多件。", "Genuine serials copied on many units."),
    "code_integrity.reappeared": ("销毁后再现。", "Units booked as destroyed are sold and scanned."),
    "price.below_floor": ("低于最低价。", "An offer below the floor in force."),
    "price.region_targeted": ("仅对某地低价。", "An offer below the floor for one region alone."),
    "price.coupon_hidden": ("以券藏价。", "A coupon takes the price below the floor."),
    "price.bundle_hidden": ("以多件装藏价。", "A pack takes the unit price below the floor."),
    "price.above_ceiling": ("高于最高价。", "An offer above the ceiling in force."),
    "price.online_offline_gap": ("线上线下价差过大。", "Shelves stay dear while the online price sits at the floor."),
    "loading.period_end_bulge": ("期末压货。", "A dealer loads at the end of the period and then orders little."),
    "loading.grey_inflow": ("来路不明的销量。", "A dealer sells more than it ever bought from the brand."),
}


def check(name: str, planting: Planting) -> None:
    """Raises ValueError for an unknown family, or a size or strength that makes no sense for it."""
    if name not in FAMILIES:
        raise ValueError(f"plantings: unknown family {name!r}; known families are {sorted(FAMILIES)}")
    family = FAMILIES[name]
    low, high = family.range
    if not 0 < planting.size <= family.most:
        raise ValueError(f"plantings: size of {name} ({family.size}): {planting.size} is not in (0, {family.most:g}]")
    if not low <= planting.strength <= high:
        raise ValueError(
            f"plantings: strength of {name} ({family.strength}): {planting.strength} is not between {low:g} and {high:g}"
        )
