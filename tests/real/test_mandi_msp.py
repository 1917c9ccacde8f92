"""Market prices against the government's floor: known counts from the lake, and cases of market × commodity × year."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real_data

JOINED = """
    select o.price, p.floor, o.partner_id, o.sku, cast(timezone('Asia/Kolkata', o.observed_at) as date) as day
    from price_observations o
    join price_policies p
        on p.scope = o.sku
        and cast(timezone('Asia/Kolkata', o.observed_at) as date) >= p.valid_from
        and cast(timezone('Asia/Kolkata', o.observed_at) as date) < p.valid_to
"""


@pytest.fixture(scope="module")
def mandi(ran):
    return ran("mandi_msp")


def test_every_price_is_in_the_lake_and_joins_the_floor_of_its_year(mandi, answers):
    found = mandi.one(
        f"""
        select
            (select count(*) from price_observations) as rows,
            count(*) as with_floor,
            count(*) filter (where price < floor) as below,
            count(*) filter (where price < floor * 8 / 10) as more_than_20_pct_below,
            count(*) filter (where price = 0) as with_floor_and_no_price
        from ({JOINED})
        """,
        "price_observations",
        "price_policies",
    )
    assert found == answers["mandi_msp"]["prices"]


def test_masters_are_what_occurs_in_the_prices(mandi, answers):
    found = mandi.one(
        """
        select
            (select count(*) from partners) as markets,
            (select count(*) from products) as commodities,
            (select count(*) from regions) as districts,
            (select count(*) from price_policies) as floors
        """,
        "partners",
        "products",
        "regions",
        "price_policies",
    )
    assert found == answers["mandi_msp"]["masters"]


def test_breaches_become_one_case_per_market_commodity_and_year(mandi, answers):
    expected = answers["mandi_msp"]
    groups = mandi.one(
        f"select count(distinct (partner_id, sku, year(day))) as n from ({JOINED}) where price < floor",
        "price_observations",
        "price_policies",
    )
    cases = mandi.book("select number, subject_id, product_line, period, storm from case_file")
    assert len(cases) == groups["n"] == expected["cases"]
    assert len({(case["subject_id"], case["product_line"], case["period"]) for case in cases}) == len(cases)
    assert not any(case["storm"] for case in cases)
    attached = mandi.book("select count(distinct finding_id) as n from case_finding where not support")
    assert attached == [{"n": expected["findings"]}]
    assert expected["findings"] == expected["prices"]["below"]


def test_the_deepest_breach_names_its_numbers(mandi, answers):
    (worst,) = mandi.ask(
        f"""
        select partner_id, sku, cast(day as varchar) as day, cast(price as varchar) as price, cast(floor as varchar) as floor
        from ({JOINED}) where price > 0 order by price / floor, partner_id limit 1
        """,
        "price_observations",
        "price_policies",
    )
    assert worst == answers["mandi_msp"]["deepest"]
