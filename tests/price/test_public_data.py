"""Known answers on public data: a legal floor (mandi_msp), a list price (iowa_liquor), slips among offers (fuel_it)."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

pytestmark = pytest.mark.real_data

LABELS = Path(__file__).with_name("fuel_it_labels.csv")


def test_the_labels_are_the_drawn_rows():
    with LABELS.open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 419
    assert Counter(row["label"] for row in rows) == {"undercutting": 298, "error": 121}


def test_market_prices_below_the_legal_floor(real_data, judge_mapped):
    folder = real_data("mandi_msp")
    prices, floors = folder / "monthly_apmc_prices.parquet", folder / "msp_floor_prices.csv"
    judged = judge_mapped(
        {
            "price_observations": (
                {
                    "observation_id": "id",
                    "source_id": "'mandi'",
                    "observed_at": "seen",
                    "channel": "'offline'",
                    "partner_id": "market",
                    "sku": "crop",
                    "surface": "'invoice'",
                    "price": "modal_price",
                    "pack_quantity": "1",
                    "currency": "'INR'",
                    "tax_included": "true",
                    "capture_ok": "true",
                },
                'select *, "APMC" || \'|\' || district_name as market, upper("Commodity") as crop, '
                "cast(date || '-15 12:00:00+05:30' as timestamptz) as seen, "
                f'row_number() over (order by "APMC", district_name, "Commodity", date) as id from \'{prices}\'',
            ),
            "products": (
                {"sku": "crop", "name": "crop", "product_line": "crop"},
                f"select distinct upper(\"Commodity\") as crop from '{prices}'",
            ),
            "price_policies": (
                {
                    "policy_id": "crop",
                    "scope": "crop",
                    "mode": "'band'",
                    "floor": "floor",
                    "currency": "'INR'",
                    "tax_included": "true",
                    "tolerance_pct": "0",
                    "jurisdiction": "'IN'",
                    "legal_basis": "'minimum support price'",
                    "approved_by": "'government'",
                    "valid_from": "make_date(year, 1, 1)",
                    "valid_to": "make_date(year + 1, 1, 1)",
                },
                f"select upper(commodity) as crop, year, max(msprice) as floor from '{floors}' "
                "where coalesce(msprice, 0) > 0 group by 1, 2",
            ),
        },
        "Asia/Kolkata",
        "price.below_floor",
    )
    facts = judged.facts["price.net_price"]
    assert duckdb.sql(f"select count(*) from '{facts}' where verdict in ('below', 'within')").fetchall() == [(18_749,)]
    assert sum(f.explanation_params["below_looks"] for f in judged.findings) == 5_645
    deep = sum(Decimal(f.explanation_params["depth_pct"]) > 20 for f in judged.findings)
    assert deep == 1_304
    cases = Counter((f.subject_id, f.product_line, f.grouping["period"]) for f in judged.findings)
    by_year = Counter((f.subject_id, f.sku, f.explanation_params["first_day"][:4]) for f in judged.findings)
    assert len(cases) == len(by_year) == 1_567, "one case for each market, commodity and year"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("unit_id", "lines"), [("price.below_floor", 129), ("price.above_ceiling", 132)])
def test_wholesale_lines_off_the_list_price(real_data, judge_mapped, unit_id, lines):
    folder = real_data("iowa_liquor")
    sales = folder / "sales_lines_2021-07_2022-10.parquet"
    reference = folder / "item_month_reference_price_2012_2022.parquet"
    judged = judge_mapped(
        {
            "price_observations": (
                {
                    "observation_id": "invoice_item_no",
                    "source_id": "'iowa'",
                    "observed_at": "cast(date || ' 12:00:00-06:00' as timestamptz)",
                    "channel": "'offline'",
                    "partner_id": "store",
                    "sku": "item",
                    "surface": "'invoice'",
                    "price": "usd",
                    "pack_quantity": "bottles",
                    "currency": "'USD'",
                    "tax_included": "true",
                    "capture_ok": "true",
                },
                f"select * from '{sales}' where bottles > 0 and usd > 0",
            ),
            "price_policies": (
                {
                    "policy_id": "item",
                    "scope": "item",
                    "mode": "'unified'",
                    "floor": "cast(mode_price as decimal(18, 2))",
                    "currency": "'USD'",
                    "tax_included": "true",
                    "tolerance_pct": "1",
                    "jurisdiction": "'US-IA'",
                    "legal_basis": "'price list'",
                    "approved_by": "'state'",
                    "valid_from": "month",
                    "valid_to": "cast(month + interval 1 month as date)",
                },
                f"select * from '{reference}'",
            ),
        },
        "America/Chicago",
        unit_id,
    )
    count = "below_looks" if unit_id == "price.below_floor" else "above_looks"
    assert sum(f.explanation_params[count] for f in judged.findings) == lines
    if unit_id == "price.below_floor":
        assert len(judged.findings) == len({(f.subject_id, f.sku) for f in judged.findings}) == 128
        assert len({f.subject_id for f in judged.findings}) == 71


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_slips_are_told_from_undercutting_as_the_histories_say(real_data, judge_mapped):
    folder = real_data("fuel_it")
    prices, stations = folder / "prices_self_2026-03_2026-08.parquet", folder / "stations.parquet"
    judged = judge_mapped(
        {
            "price_observations": (
                {
                    "observation_id": "id",
                    "source_id": "'mimit'",
                    "observed_at": "timezone('Europe/Rome', communicated_at)",
                    "channel": "'offline'",
                    "platform": "'mimit'",
                    "seller_ref": "station_id",
                    "sku": "fuel",
                    "surface": "'shelf'",
                    "price": "round(price_eur_l, 4)",
                    "pack_quantity": "1",
                    "currency": "'EUR'",
                    "tax_included": "true",
                    "region_code": "province",
                    "capture_ok": "true",
                },
                "select p.*, s.province, concat_ws('|', p.station_id, fuel, communicated_at, row_number() over ("
                "partition by p.station_id, fuel, communicated_at order by price_eur_l, first_extraction)) as id "
                f"from '{prices}' p join (select distinct on (station_id) station_id, province from '{stations}' "
                "order by station_id) s on cast(s.station_id as integer) = p.station_id",
            ),
        },
        "Europe/Rome",
        "price.peer_outlier",
    )
    facts = judged.facts["price.error_reading"]
    counts = duckdb.sql(
        "select count(*) filter (share_of_peers < 0.85), count(*) filter (share_of_peers < 0.7), "
        f"count(*) filter (share_of_peers > 1.15) from '{facts}'"
    ).fetchall()
    assert counts == [(15_953, 219, 5_368)], "15,961, 219 and 5,374 less the days with fewer than eight stations"
    classed = duckdb.sql(
        f"""
        select l.label, f.class, count(*)
        from read_csv('{LABELS}', types = {{'station_id': 'varchar', 'price': 'decimal(18,4)'}}) l
        left join '{facts}' f
            on f.subject_id = 'mimit:' || l.station_id
            and f.sku = l.fuel
            and timezone('Europe/Rome', f.observed_at) = l.communicated_at
            and f.unit_price = l.price
        group by all
        """
    ).fetchall()
    assert sum(n for _, _, n in classed) == 419
    assert sum(n for label, found, n in classed if label == found) >= 0.95 * 419, classed
    assert judged.findings
    assert all(f.explanation_params["days"] >= 3 for f in judged.findings)
