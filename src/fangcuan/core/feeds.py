"""Event feeds: what happened. Append-only, kept in the lake, partitioned by event date.

Terms: GS1 EPCIS 2.0 and CBV 2.0 for traces, GB/T 2260 or ISO 3166-2 for regions, ISO 4217 for currencies, ISO 8601 with
zone for times. Times are UTC; the offset the source wrote is kept beside the main time of each feed.
"""

from __future__ import annotations

from fangcuan.core.contract import Relation, boolean, date, decimal, double, index, json, text, timestamp

TRACE_EVENTS = Relation(
    name="trace_events",
    kind="event",
    key=("event_id", "epc", "item_role"),
    time="event_time",
    about="What happened to a serial: one row per thing read.",
    columns=(
        text("event_id", True, about="EPCIS event identifier; the CBV event hash where the source gives none"),
        text("item_role", values=("item", "parent", "child", "input", "output"), about="role of `epc` in the event"),
        timestamp("event_time", True, not_future=True),
        text("event_time_offset", about="zone offset as the source wrote it, e.g. +08:00"),
        timestamp("record_time"),
        text("event_type", True, values=("object", "aggregation", "association", "transaction", "transformation")),
        text("action", values=("ADD", "OBSERVE", "DELETE"), about="empty for transformation events only"),
        text("biz_step", about="CBV business step, bare word; a URI where the source uses its own vocabulary"),
        text("disposition"),
        text("epc", True, about="EPC URI, GS1 Digital Link or plain code"),
        text("parent_epc", about="carton or pallet"),
        decimal("quantity", default="1", minimum=0),
        text("sku", references="products.sku"),
        text("lot"),
        text("partner_id", references="partners.partner_id", about="who holds or reads; empty for a consumer scan"),
        text("source_partner_id", references="partners.partner_id"),
        text("destination_partner_id", references="partners.partner_id"),
        text("region_code", references="regions.region_code"),
        double("latitude", minimum=-90, maximum=90),
        double("longitude", minimum=-180, maximum=180),
        double("accuracy_m", minimum=0),
        text("place_source", values=("gps", "ip", "address", "site", "none")),
        text(
            "observer",
            values=("warehouse", "partner_scan", "consumer_scan", "field_inspection", "test_purchase", "return_desk"),
        ),
        text("device_hash"),
        text("read_point"),
        text("biz_location"),
        json("business_transactions"),
        text("unit_of_measure"),
        text("corrects_event_id", about="withdraws that event; with content, replaces it"),
        text("source_id"),
    ),
)

PRICE_OBSERVATIONS = Relation(
    name="price_observations",
    kind="event",
    key=("source_id", "observation_id"),
    time="observed_at",
    about="What was offered, where, when.",
    columns=(
        text("observation_id", True),
        timestamp("observed_at", True, not_future=True),
        text("observed_at_offset"),
        text("source_id"),
        text("channel", True, values=("online", "offline")),
        text("platform"),
        text("shop_name"),
        text("seller_ref", about="the platform's own id of the seller"),
        text("partner_id", references="partners.partner_id"),
        text("listing_url"),
        text("title"),
        text("sku", references="products.sku"),
        text("surface", True, values=("list", "cart", "coupon", "member", "invoice", "shelf")),
        decimal("price", minimum=0, about="per listing, before `coupon`; empty when capture_ok is false"),
        decimal("pack_quantity", default="1", minimum=0, about="units the price buys"),
        decimal("shipping", minimum=0),
        decimal("coupon", minimum=0),
        text("currency", True, about="ISO 4217"),
        boolean("tax_included", default="true"),
        text("region_code", references="regions.region_code"),
        boolean("in_stock"),
        text("capture_sha256", about="page or photograph in the evidence store"),
        boolean("capture_ok", default="true", about="false: looked and failed; feeds coverage"),
    ),
)

SALES = Relation(
    name="sales",
    kind="event",
    time="day",
    about="Sell-in, sell-out, stock, returns and orders by partner, product, region and day.",
    columns=(
        text("partner_id", True, references="partners.partner_id"),
        text("sku", True, references="products.sku"),
        text("region_code", references="regions.region_code"),
        date("day", True, not_future=True),
        text("flow", True, values=("sell_in", "sell_out", "stock", "return", "order")),
        decimal("quantity", True),
        decimal("amount"),
        text("currency"),
        text("counterparty_id", references="partners.partner_id"),
        text("document_ref", about="the same reference recorded later amends the earlier one"),
        timestamp("recorded_at"),
        text("source_id"),
    ),
)

DOCUMENTS = Relation(
    name="documents",
    kind="event",
    key=("source_id", "document_id"),
    time="day",
    about="Business corroboration: delivery notes, purchase receipts, returned goods.",
    columns=(
        text("document_id", True),
        text("kind", True, values=("delivery_note", "purchase_receipt", "returned_goods", "admission", "other")),
        date("day", True, not_future=True),
        text("partner_id", references="partners.partner_id"),
        text("counterparty_id", references="partners.partner_id"),
        text("sku", references="products.sku"),
        text("epc"),
        decimal("quantity"),
        text("file_sha256"),
        text("source_id"),
    ),
)

INSPECTIONS = Relation(
    name="inspections",
    kind="event",
    key=("source_id", "visit_id", "kind", "epc", "sku"),
    time="visited_at",
    about="Field visits: one row per thing noted on a visit.",
    columns=(
        text("visit_id", True),
        timestamp("visited_at", True, not_future=True),
        text("visited_at_offset"),
        text("inspector_ref", True),
        text("shop_ref", True),
        text("partner_id", references="partners.partner_id"),
        text("region_code", True, references="regions.region_code"),
        double("latitude", minimum=-90, maximum=90),
        double("longitude", minimum=-180, maximum=180),
        text("kind", True, values=("code_read", "price", "display", "complaint")),
        text("epc"),
        text("sku", references="products.sku"),
        decimal("price", minimum=0),
        decimal("quantity"),
        text("photo_sha256"),
        text("note"),
        text("source_id"),
    ),
)

FEEDS = index((TRACE_EVENTS, PRICE_OBSERVATIONS, SALES, DOCUMENTS, INSPECTIONS))

__all__ = ["DOCUMENTS", "FEEDS", "INSPECTIONS", "PRICE_OBSERVATIONS", "SALES", "TRACE_EVENTS"]
