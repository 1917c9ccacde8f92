"""Tables of master data: append-only, one row per recorded version."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "master_calendar",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_calendar")),
    )
    op.create_index("ix_master_calendar_business_key", "master_calendar", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_contracts",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("contract_ref", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("clause_code", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("penalty_ladder_id", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_contracts")),
    )
    op.create_index(
        "ix_master_contracts_business_key", "master_contracts", ["business_key", "recorded_at"], unique=False
    )
    op.create_table(
        "master_evidence_policies",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("min_units", big_integer(), nullable=True),
        sa.Column("min_corroborations", big_integer(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_evidence_policies")),
    )
    op.create_index(
        "ix_master_evidence_policies_business_key",
        "master_evidence_policies",
        ["business_key", "recorded_at"],
        unique=False,
    )
    op.create_table(
        "master_freight",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("from_region_code", sa.Text(), nullable=False),
        sa.Column("to_region_code", sa.Text(), nullable=False),
        sa.Column("cost_per_case", sa.String(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_freight")),
    )
    op.create_index("ix_master_freight_business_key", "master_freight", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_fx_rates",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("quote_currency", sa.Text(), nullable=False),
        sa.Column("rate", sa.String(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_fx_rates")),
    )
    op.create_index("ix_master_fx_rates_business_key", "master_fx_rates", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_partner_aliases",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("seller_ref", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(precision=53), nullable=True),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_partner_aliases")),
    )
    op.create_index(
        "ix_master_partner_aliases_business_key",
        "master_partner_aliases",
        ["business_key", "recorded_at"],
        unique=False,
    )
    op.create_table(
        "master_partners",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("gln", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("customer_class", sa.Text(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_partners")),
    )
    op.create_index("ix_master_partners_business_key", "master_partners", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_price_policies",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("surface", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("floor", sa.String(), nullable=False),
        sa.Column("ceiling", sa.String(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("tax_included", sa.Boolean(), nullable=True),
        sa.Column("tolerance_pct", sa.String(), nullable=True),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_price_policies")),
    )
    op.create_index(
        "ix_master_price_policies_business_key", "master_price_policies", ["business_key", "recorded_at"], unique=False
    )
    op.create_table(
        "master_products",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("gtin", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("product_line", sa.Text(), nullable=True),
        sa.Column("units_per_case", big_integer(), nullable=True),
        sa.Column("list_price", sa.String(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("vat_rate", sa.String(), nullable=True),
        sa.Column("unit_margin", sa.String(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_products")),
    )
    op.create_index("ix_master_products_business_key", "master_products", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_promotions",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("promotion_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("effect", sa.Text(), nullable=False),
        sa.Column("floor", sa.String(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_promotions")),
    )
    op.create_index(
        "ix_master_promotions_business_key", "master_promotions", ["business_key", "recorded_at"], unique=False
    )
    op.create_table(
        "master_rebate_plans",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=False),
        sa.Column("rates", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_rebate_plans")),
    )
    op.create_index(
        "ix_master_rebate_plans_business_key", "master_rebate_plans", ["business_key", "recorded_at"], unique=False
    )
    op.create_table(
        "master_region_neighbours",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=False),
        sa.Column("neighbour_code", sa.Text(), nullable=False),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_region_neighbours")),
    )
    op.create_index(
        "ix_master_region_neighbours_business_key",
        "master_region_neighbours",
        ["business_key", "recorded_at"],
        unique=False,
    )
    op.create_table(
        "master_regions",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=False),
        sa.Column("parent_code", sa.Text(), nullable=True),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=True),
        sa.Column("name_en", sa.Text(), nullable=True),
        sa.Column("latitude", sa.Float(precision=53), nullable=True),
        sa.Column("longitude", sa.Float(precision=53), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_regions")),
    )
    op.create_index("ix_master_regions_business_key", "master_regions", ["business_key", "recorded_at"], unique=False)
    op.create_table(
        "master_territories",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("customer_class", sa.Text(), nullable=True),
        sa.Column("exclusive", sa.Boolean(), nullable=True),
        sa.Column("contract_ref", sa.Text(), nullable=True),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_territories")),
    )
    op.create_index(
        "ix_master_territories_business_key", "master_territories", ["business_key", "recorded_at"], unique=False
    )
    op.create_table(
        "master_transfer_permits",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("permit_id", sa.Text(), nullable=False),
        sa.Column("from_partner_id", sa.Text(), nullable=False),
        sa.Column("to_partner_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("quantity", sa.String(), nullable=True),
        sa.Column("lot", sa.Text(), nullable=True),
        sa.Column("serial_from", sa.Text(), nullable=True),
        sa.Column("serial_to", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_transfer_permits")),
    )
    op.create_index(
        "ix_master_transfer_permits_business_key",
        "master_transfer_permits",
        ["business_key", "recorded_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_master_transfer_permits_business_key", table_name="master_transfer_permits")
    op.drop_table("master_transfer_permits")
    op.drop_index("ix_master_territories_business_key", table_name="master_territories")
    op.drop_table("master_territories")
    op.drop_index("ix_master_regions_business_key", table_name="master_regions")
    op.drop_table("master_regions")
    op.drop_index("ix_master_region_neighbours_business_key", table_name="master_region_neighbours")
    op.drop_table("master_region_neighbours")
    op.drop_index("ix_master_rebate_plans_business_key", table_name="master_rebate_plans")
    op.drop_table("master_rebate_plans")
    op.drop_index("ix_master_promotions_business_key", table_name="master_promotions")
    op.drop_table("master_promotions")
    op.drop_index("ix_master_products_business_key", table_name="master_products")
    op.drop_table("master_products")
    op.drop_index("ix_master_price_policies_business_key", table_name="master_price_policies")
    op.drop_table("master_price_policies")
    op.drop_index("ix_master_partners_business_key", table_name="master_partners")
    op.drop_table("master_partners")
    op.drop_index("ix_master_partner_aliases_business_key", table_name="master_partner_aliases")
    op.drop_table("master_partner_aliases")
    op.drop_index("ix_master_fx_rates_business_key", table_name="master_fx_rates")
    op.drop_table("master_fx_rates")
    op.drop_index("ix_master_freight_business_key", table_name="master_freight")
    op.drop_table("master_freight")
    op.drop_index("ix_master_evidence_policies_business_key", table_name="master_evidence_policies")
    op.drop_table("master_evidence_policies")
    op.drop_index("ix_master_contracts_business_key", table_name="master_contracts")
    op.drop_table("master_contracts")
    op.drop_index("ix_master_calendar_business_key", table_name="master_calendar")
    op.drop_table("master_calendar")
