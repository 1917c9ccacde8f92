"""Master data: who, what, where and under which policy. Held in the casebook, effective-dated in two directions.

Every table carries `valid_from`, `valid_to` (half-open local dates in the brand's time zone, empty = open)
and `recorded_at` (when the brand came to know it), so that yesterday can be judged by yesterday, as known yesterday.
A later `recorded_at` of the same key supersedes the earlier row. `regions` and `region_neighbours` are not dated.
"""

from __future__ import annotations

from fangcuan.core.contract import (
    Column,
    Relation,
    boolean,
    date,
    decimal,
    double,
    index,
    integer,
    json,
    rate,
    text,
    timestamp,
)

DATED: tuple[Column, ...] = (date("valid_from"), date("valid_to"), timestamp("recorded_at"))
APPROVED: tuple[Column, ...] = (text("approved_by", True), timestamp("approved_at"))

#: What a dealer may be asked to bear.
PENALTY_STEPS = (
    "warning",
    "recall",
    "buy_back",
    "fine_fixed",
    "fine_per_unit",
    "fine_multiple_of_price",
    "rebate_withheld_pct",
    "bonus_withheld_pct",
    "deposit_cut_pct",
    "volume_cut_pct",
    "observation_months",
    "suspension",
    "cancellation",
)


def _master(name: str, key: tuple[str, ...], *columns: Column, dated: bool = True, about: str = "") -> Relation:
    dates = DATED if dated else ()
    full_key = (*key, "valid_from", "recorded_at") if dated else key
    return Relation(name=name, kind="master", key=full_key, columns=(*columns, *dates), about=about)


MASTERS = index(
    (
        _master(
            "partners",
            ("partner_id",),
            text("partner_id", True),
            text("name", True),
            text(
                "kind",
                True,
                values=(
                    "brand",
                    "distributor",
                    "dealer",
                    "retailer",
                    "online_shop",
                    "marketplace_seller",
                    "warehouse",
                ),
            ),
            text("tier"),
            text("parent_id"),
            text("region_code", references="regions.region_code"),
            text("channel"),
            text("gln"),
            text("status", default="active"),
            text("customer_class"),
            about="Everyone who may hold, sell or be paid for goods.",
        ),
        _master(
            "partner_aliases",
            ("platform", "seller_ref"),
            text("platform", True),
            text("seller_ref", True),
            text("partner_id", True, references="partners.partner_id"),
            double("confidence", minimum=0, maximum=1),
            text("confirmed_by"),
            about="Which partner stands behind a seller on a platform.",
        ),
        _master(
            "regions",
            ("region_code",),
            text("region_code", True),
            text("parent_code"),
            text("level", True),
            text("name_zh"),
            text("name_en"),
            double("latitude", minimum=-90, maximum=90),
            double("longitude", minimum=-180, maximum=180),
            dated=False,
            about="Regions as a tree; a grant for a region covers what lies under it.",
        ),
        _master(
            "region_neighbours",
            ("region_code", "neighbour_code"),
            text("region_code", True, references="regions.region_code"),
            text("neighbour_code", True, references="regions.region_code"),
            dated=False,
            about="Pairs of regions that share a border; both directions.",
        ),
        _master(
            "products",
            ("sku",),
            text("sku", True),
            text("gtin"),
            text("name", True),
            text("brand"),
            text("product_line"),
            integer("units_per_case", minimum=1),
            decimal("list_price", minimum=0),
            text("currency"),
            decimal("vat_rate", minimum=0, maximum=1),
            decimal("unit_margin"),
        ),
        _master(
            "territories",
            ("grant_id",),
            text("grant_id", True),
            text("partner_id", True, references="partners.partner_id"),
            text("region_code", True, references="regions.region_code"),
            text("scope", default="all", about="`all`, a product line or a sku"),
            text("channel"),
            text("customer_class"),
            boolean("exclusive"),
            text("contract_ref"),
            text("jurisdiction", True),
            text("legal_basis", True),
            *APPROVED,
            about="Who may sell where.",
        ),
        _master(
            "transfer_permits",
            ("permit_id",),
            text("permit_id", True),
            text("from_partner_id", True, references="partners.partner_id"),
            text("to_partner_id", True, references="partners.partner_id"),
            text("scope", default="all"),
            decimal("quantity"),
            text("lot"),
            text("serial_from"),
            text("serial_to"),
            *APPROVED,
            about="Transfers between partners that were agreed in writing.",
        ),
        _master(
            "price_policies",
            ("policy_id",),
            text("policy_id", True),
            text("scope", default="all"),
            text("region_code", references="regions.region_code"),
            text("channel"),
            text("tier"),
            text("surface"),
            text("mode", True, values=("unified", "band", "advertised_minimum")),
            decimal("floor", True, minimum=0),
            decimal("ceiling", minimum=0),
            text("currency", True),
            boolean("tax_included", default="true"),
            decimal("tolerance_pct", default="0", minimum=0, maximum=100),
            text("jurisdiction", True),
            text("legal_basis", True),
            *APPROVED,
        ),
        _master(
            "promotions",
            ("promotion_id",),
            text("promotion_id", True),
            text("scope", default="all"),
            text("region_code", references="regions.region_code"),
            text("channel"),
            text("effect", True, values=("floor", "exempt")),
            decimal("floor", minimum=0),
            text("currency"),
            *APPROVED,
        ),
        _master(
            "rebate_plans",
            ("plan_id",),
            text("plan_id", True),
            text("partner_id", references="partners.partner_id"),
            text("tier"),
            text("period", True, values=("month", "quarter", "year")),
            date("period_start", True),
            date("period_end", True),
            json("thresholds", True),
            json("rates", True),
        ),
        _master(
            "evidence_policies",
            ("region_code", "family"),
            text("region_code", True, references="regions.region_code"),
            text("family", True),
            integer("min_units", minimum=0),
            integer("min_corroborations", minimum=0),
        ),
        _master(
            "freight",
            ("from_region_code", "to_region_code"),
            text("from_region_code", True, references="regions.region_code"),
            text("to_region_code", True, references="regions.region_code"),
            decimal("cost_per_case", True, minimum=0),
            text("currency", True),
        ),
        _master(
            "fx_rates",
            ("currency", "quote_currency"),
            text("currency", True),
            text("quote_currency", True),
            rate("rate", True, minimum=0, about="units of quote_currency for one unit of currency"),
        ),
        _master(
            "calendar",
            ("day", "kind", "region_code"),
            date("day", True),
            text("kind", True, values=("holiday", "platform_festival", "campaign")),
            text("region_code", references="regions.region_code"),
        ),
        _master(
            "contracts",
            ("contract_ref", "clause_code"),
            text("contract_ref", True),
            text("partner_id", True, references="partners.partner_id"),
            text("clause_code", True),
            text("text", True),
            text("penalty_ladder_id"),
        ),
        _master(
            "legal_gate",
            ("jurisdiction", "family", "action"),
            text("jurisdiction", True, about="ISO 3166-1 code; `EU` for its members, `UK` for the United Kingdom"),
            text("family", True, values=("diversion", "price", "code_integrity", "loading")),
            text("action", True, values=("observe", "notify", "request_explanation", "propose_penalty")),
            boolean("allowed", True),
            text("template", about="the only text in which it may be done; any text where empty"),
            text("legal_basis", True),
            *APPROVED,
            about="What may be done about a case, per jurisdiction. What no row allows is denied.",
        ),
        _master(
            "penalty_ladders",
            ("ladder_id", "offence", "class", "min_quantity", "occurrence", "step"),
            text("ladder_id", True),
            text("offence", True),
            text("class", values=("malicious", "natural", "benign"), about="any where empty"),
            decimal("min_quantity", minimum=0, about="units at issue from which on the step applies; any where empty"),
            integer("occurrence", True, minimum=1, about="1: the first in the look-back"),
            integer("look_back_days", True, minimum=1),
            text("step", True, values=PENALTY_STEPS),
            decimal("amount", minimum=0, about="money, percent, multiple or months, as the step says"),
            decimal("cap", minimum=0, about="money at most"),
            text("currency"),
            integer("days", minimum=1, about="to carry it out"),
            text("rounding", values=("down", "half_up", "up"), about="of money, to its smallest unit"),
            text("clause_code", True, about="of the contract"),
            text("jurisdiction", True),
            text("legal_basis", True),
            *APPROVED,
            about="Which penalty follows which offence, and how it climbs with repeats.",
        ),
    )
)

#: Master tables in which only what was approved in the casebook counts: no source may load them.
DECIDED = frozenset({"legal_gate", "penalty_ladders"})
#: Columns that the approval of a row fills in.
BY_APPROVAL = frozenset({"approved_by", "approved_at", "recorded_at"})

#: Master tables that carry no validity period.
UNDATED = frozenset({"regions", "region_neighbours"})
