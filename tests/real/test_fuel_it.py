"""Prices of Italian fuel stations: everything loads, and the known counts against the province's median of the day."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def fuel(ran):
    return ran("fuel_it")


def test_every_report_is_in_the_lake(fuel, answers):
    found = fuel.one(
        """
        select
            count(*) as rows,
            count(partner_id) as of_known_stations,
            count(distinct seller_ref) as stations,
            count(distinct region_code) as provinces,
            cast(min(price) as varchar) as lowest,
            cast(max(price) as varchar) as highest
        from price_observations
        """,
        "price_observations",
    )
    assert found == answers["fuel_it"]["reports"]
    assert fuel.book("select count(*) as n from quarantine") == [{"n": 0}]


@pytest.mark.parametrize(("price", "answer"), [("cast(price as float)", "as_floats"), ("price", "as_decimals")])
def test_known_answers_come_out_of_the_lake(fuel, answers, price, answer):
    found = fuel.one(
        f"""
        with reports as (
            select region_code, sku, cast(timezone('Europe/Rome', observed_at) as date) as day, {price} as price
            from price_observations
            where region_code is not null
        ),
        medians as (select region_code, sku, day, median(price) as level from reports group by all)
        select
            count(*) filter (where price < level * 0.85) as more_than_15_pct_below,
            count(*) filter (where price < level * 0.7) as more_than_30_pct_below,
            count(*) filter (where price > level * 1.15) as more_than_15_pct_above
        from reports join medians using (region_code, sku, day)
        """,
        "price_observations",
    )
    assert found == answers["fuel_it"][answer]


def test_masters_are_stations_provinces_and_fuels(fuel, answers):
    found = fuel.one(
        """
        select
            (select count(*) from partners) as stations,
            (select count(*) from regions) as provinces,
            (select list(sku order by sku) from products) as fuels
        """,
        "partners",
        "regions",
        "products",
    )
    assert found == answers["fuel_it"]["masters"]


def test_no_unit_opens_more_cases_than_its_breaker_allows(fuel):
    opened = fuel.book("select unit_id, cases from filing_unit_night where not storm")
    assert all(row["cases"] <= 200 for row in opened)
