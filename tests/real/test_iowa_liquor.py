"""Invoice lines against the State's price of the month: known counts from the lake, and the cases that follow."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.timeout(1800)]

#: Units cost what the line says to four decimals, as the net price does.
LINES = """
    select
        o.partner_id,
        o.sku,
        cast(round(o.price / o.pack_quantity, 4) as decimal(18, 4)) as unit_price,
        p.floor
    from price_observations o
    join price_policies p
        on p.scope = o.sku
        and cast(timezone('America/Chicago', o.observed_at) as date) >= p.valid_from
        and cast(timezone('America/Chicago', o.observed_at) as date) < p.valid_to
"""


@pytest.fixture(scope="module")
def iowa(ran):
    return ran("iowa_liquor")


def test_every_line_is_in_the_lake_as_a_sale_or_a_return(iowa, answers):
    found = iowa.one(
        """
        select
            count(*) as lines,
            count(*) filter (where flow = 'return') as returns,
            count(distinct partner_id) as stores,
            count(distinct sku) as items,
            cast(sum(quantity) filter (where flow = 'sell_in') as bigint) as bottles,
            cast(sum(amount) filter (where flow = 'sell_in') as varchar) as usd
        from sales
        """,
        "sales",
    )
    assert found == answers["iowa_liquor"]["sales"]


def test_known_answers_come_out_of_the_lake(iowa, answers):
    found = iowa.one(
        f"""
        select
            count(*) as judged_lines,
            count(*) filter (where unit_price < floor * 99 / 100) as more_than_1_pct_below,
            count(*) filter (where unit_price < floor * 95 / 100) as more_than_5_pct_below,
            count(*) filter (where unit_price < floor * 90 / 100) as more_than_10_pct_below,
            count(*) filter (where unit_price > floor * 101 / 100) as more_than_1_pct_above,
            count(distinct partner_id) filter (where unit_price < floor * 99 / 100) as stores_below,
            count(distinct (partner_id, sku)) filter (where unit_price < floor * 99 / 100) as store_items_below
        from ({LINES})
        """,
        "price_observations",
        "price_policies",
    )
    assert found == answers["iowa_liquor"]["prices"]


def test_the_fact_of_net_prices_says_the_same(iowa, answers):
    found = iowa.ask(
        "select verdict, count(*) as n from fact_price_net_price group by all order by all", "fact_price_net_price"
    )
    assert {row["verdict"]: row["n"] for row in found} == answers["iowa_liquor"]["verdicts"]


def test_cases_are_the_store_items_below_and_above(iowa, answers):
    cases = iowa.book(
        """
        select f.unit_id, count(distinct c.number) as cases, count(distinct f.finding_id) as findings,
            count(distinct c.subject_id) as stores
        from case_file c join case_finding l on l.number = c.number join finding f on f.finding_id = l.finding_id
        group by f.unit_id order by f.unit_id
        """
    )
    assert {row.pop("unit_id"): row for row in cases} == answers["iowa_liquor"]["cases"]
