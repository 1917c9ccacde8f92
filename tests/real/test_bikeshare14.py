"""Numbered bikes in five cities: what left its city, and where the chain of custody does not close."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real_data

#: Trips again, from the two events of each.
TRIPS = """
    select
        o.epc,
        o.event_time as left_at,
        o.read_point as from_terminal,
        o.partner_id as from_city,
        i.event_time as back_at,
        i.read_point as to_terminal,
        i.partner_id as to_city
    from trace_events o
    join trace_events i
        on i.biz_step = 'receiving' and replace(i.event_id, '-in', '') = replace(o.event_id, '-out', '')
    where o.biz_step = 'shipping'
"""


@pytest.fixture(scope="module")
def bikes(ran):
    return ran("bikeshare14")


def test_two_events_of_every_trip_are_in_the_lake(bikes, answers):
    found = bikes.one(
        """
        select
            count(*) as events,
            count(*) filter (where biz_step = 'shipping') as departures,
            count(distinct epc) as bikes,
            count(distinct read_point) as terminals,
            count(distinct partner_id) as cities,
            count(*) filter (where partner_id is null or region_code is null) as without_city,
            count(distinct read_point) filter (where latitude is null) as moved_terminals
        from trace_events
        """,
        "trace_events",
    )
    assert found == answers["bikeshare14"]["events"]


def test_known_answers_come_out_of_the_lake(bikes, answers):
    found = bikes.one(
        f"""
        with trips as ({TRIPS}),
        turns as (
            select
                *,
                lag(to_city) over (partition by epc order by left_at) as last_city,
                lag(to_terminal) over (partition by epc order by left_at) as last_terminal
            from trips
        ),
        cities as (select epc, count(distinct from_city) as n from trips group by epc)
        select
            count(*) filter (where from_city <> to_city) as trips_across_a_border,
            (select count(*) from cities where n > 1) as bikes_in_several_cities,
            count(*) filter (where from_city <> last_city) as relocations_to_another_city,
            count(*) filter (where from_terminal <> last_terminal) as relocations_to_another_terminal
        from turns
        """,
        "trace_events",
    )
    assert found == answers["bikeshare14"]["known"]


def test_every_silent_relocation_to_another_city_is_a_break_of_custody(bikes, answers):
    counted = bikes.ask(
        "select break_kind, count(*) as n from fact_diversion_custody_break where status = 'broken' group by all order by all",
        "fact_diversion_custody_break",
    )
    assert {row["break_kind"]: row["n"] for row in counted} == answers["bikeshare14"]["breaks"]
    assert (
        answers["bikeshare14"]["breaks"]["shipped_by_non_holder"]
        == (answers["bikeshare14"]["known"]["relocations_to_another_city"])
    )
    wrong = bikes.one(
        f"""
        with turns as (
            select epc, from_city, left_at, lag(to_city) over (partition by epc order by left_at) as last_city
            from ({TRIPS})
        )
        select count(*) as n
        from (select epc, left_at, from_city, last_city from turns where from_city <> last_city) t
        full join (
            select * from fact_diversion_custody_break where break_kind = 'shipped_by_non_holder' and status = 'broken'
        ) b
            on b.epc = t.epc and b.at = t.left_at and b.partner_id = t.from_city and b.other_partner_id = t.last_city
        where t.epc is null or b.epc is null
        """,
        "trace_events",
        "fact_diversion_custody_break",
    )
    assert wrong == {"n": 0}


def test_breaks_alone_open_no_case(bikes):
    assert bikes.book("select count(*) as n from case_file") == [{"n": 0}]
